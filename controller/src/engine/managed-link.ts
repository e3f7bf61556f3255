import {
  after,
  type Ifindex,
  type Instant,
  type Ipv4,
  type LinkName,
  type MacAddress,
} from "@mnm/proto/net";
import { type GuardState, deadline as guardDeadline, UNGUARDED } from "../arp/index.js";
import type { LinkEntry } from "../config/index.js";
import {
  type DhcpEvent,
  type DhcpState,
  deadline as dhcpDeadline,
  type Lease,
  leaseOf,
  STOPPED,
} from "../dhcp4/index.js";
import type { EventLink } from "../events/index.js";
import { isUsable, type Link } from "../link/index.js";
import type { KernelAddress } from "../reconcile/index.js";
import { MNM_PROTOCOL } from "../reconcile/index.js";
import {
  type Addressing,
  addressingOfAdopted,
  addressingOfLease,
  addressingOfStatic,
  type Metric,
} from "../uplink/index.js";
import { earliest } from "./repairs.js";

/** Where the link's remembered lease is. */
type LeaseMemory =
  | { readonly kind: "unread" }
  | { readonly kind: "reading" }
  | { readonly kind: "read"; readonly lease: Lease | undefined };

const HOLD_DOWN_MS = 3_000;
/** Modems lose and find their network more slowly. */
const HOLD_DOWN_WWAN_MS = 10_000;

/**
 * How an operator has ended the lease: for good (`released`), or for a new one (`reconnecting`,
 * until that is there).
 */
type Farewell = "none" | "released" | "reconnecting";

/**
 * How far an address has come. `admitted`: it may be on the link, though somebody else may turn out
 * to have it. `claimed`: nobody else has, as far as is known.
 */
interface Standing {
  readonly kind: "admitted" | "claimed";
  readonly address: Ipv4;
}

/** Where a link is in its life, in the words of `mnm.v1.LinkState`. */
export type LinkState =
  | "ignored"
  | "no-carrier"
  | "configuring"
  | "usable"
  | "holding"
  | "faulty"
  | "released";

/** A link that MNM manages, with all that is known of it beside what the kernel says. */
export class ManagedLink {
  identity: string;
  link: Link;
  method: LinkEntry["method"];
  entry: LinkEntry | undefined;
  /** The routing table: 7700 + slot. */
  table: number;
  metric: Metric | undefined;
  dhcp: DhcpState = STOPPED;
  /** Whether the lease's address is ours alone, as far as ARP can tell. */
  guard: GuardState = UNGUARDED;
  /** What the guard was told to guard. */
  guarded: { readonly address: Ipv4; readonly gateway: Ipv4 | undefined } | undefined;
  /** What is known of the lease's address; without it the address does not get onto the link. */
  standing: Standing | undefined;
  /** The address that an earlier run of ours had claimed. */
  claimedBefore: Ipv4 | undefined;
  /** Of DHCP and ARP: sent, received and refused messages by reason. */
  readonly counters = new Map<string, number>();
  /** What was last told of options that were left out, so that no renewal tells it again. */
  remarked = "";
  port: "closed" | "opening" | "open" = "closed";
  /** The helper could not open the port; it is asked again then. */
  portRetryAt: Instant | undefined;
  /** A DHCP message was not sent, or its answer may be lost; the exchange is begun again once the port is open. */
  sendFailed = false;
  memory: LeaseMemory = { kind: "unread" };
  /** Whom servers know the link as, and grant leases to. */
  servedMac: MacAddress | undefined;
  /** DHCP has begun on it in this run of ours. */
  wasStarted = false;
  farewell: Farewell = "none";
  /** A lease that was given back: its address stays until then, as the RELEASE leaves from it. */
  leaving: { readonly lease: Lease; readonly until: Instant } | undefined;
  /** Carrier was lost; everything is kept until then. */
  holdUntil: Instant | undefined;
  /** Was usable at the last look. */
  wasUsable = false;
  /** Has been seen admin up since it is managed: from then on, down is the operator's wish. */
  raised = false;
  state: { readonly kind: LinkState; readonly since: Instant };

  constructor(
    now: Instant,
    base: Pick<ManagedLink, "identity" | "link" | "method" | "entry" | "table">,
  ) {
    this.identity = base.identity;
    this.link = base.link;
    this.method = base.method;
    this.entry = base.entry;
    this.table = base.table;
    this.state = { kind: "configuring", since: now };
  }

  get ifindex(): Ifindex {
    return this.link.ifindex;
  }

  get name(): LinkName {
    return this.link.name;
  }

  get eventLink(): EventLink {
    return { identity: this.identity, name: this.name, ifindex: this.ifindex };
  }

  get isReleased(): boolean {
    return this.farewell === "released";
  }

  count(counter: string, times = 1): void {
    this.counters.set(counter, (this.counters.get(counter) ?? 0) + times);
  }

  deadline(): Instant | undefined {
    const { leaving, holdUntil, portRetryAt } = this;
    return earliest([
      dhcpDeadline(this.dhcp),
      guardDeadline(this.guard),
      holdUntil,
      leaving?.until,
      portRetryAt,
    ]);
  }

  /**
   * Follows carrier and admin state; the answer is what the DHCP machine should hear of it.
   *
   * Lost carrier is held for a while, because a cable that was moved should cost nothing. An
   * operator who sets a link down means it at once.
   */
  followCarrier(now: Instant, kindIsWwan: boolean): DhcpEvent["kind"] | undefined {
    const usable = isUsable(this.link);
    const had = this.wasUsable;
    this.wasUsable = usable;
    if (this.link.adminUp) this.raised = true;
    if (usable) {
      const wasHeld = this.holdUntil !== undefined;
      this.holdUntil = undefined;
      return wasHeld ? "check" : undefined;
    }
    if (!this.link.adminUp) {
      this.holdUntil = undefined;
      return "stop";
    }
    if (had) this.holdUntil = after(now, kindIsWwan ? HOLD_DOWN_WWAN_MS : HOLD_DOWN_MS);
    if (this.holdUntil !== undefined && this.holdUntil > now) return undefined;
    this.holdUntil = undefined;
    return "stop";
  }

  /** The address the link should have now, and what belongs to it. */
  addressing(addresses: readonly KernelAddress[]): Addressing | undefined {
    if (!this.link.adminUp) return undefined;
    switch (this.method.kind) {
      case "dhcp": {
        const lease = this.#leaseInUse;
        return lease === undefined ? undefined : addressingOfLease(lease, this.link.mtu);
      }
      case "static": {
        const { address, prefixLength, gateway } = this.method;
        return addressingOfStatic(address, prefixLength, gateway);
      }
      case "adopt": {
        const foreign = addresses.find(
          ({ protocol, scope }) => protocol !== MNM_PROTOCOL && scope === 0,
        );
        return foreign === undefined || !isUsable(this.link)
          ? undefined
          : addressingOfAdopted(foreign.address, foreign.length);
      }
    }
  }

  /** Everything that the link's uplink is made from, but for the kernel's addresses. */
  get basis(): readonly unknown[] {
    const { identity, link, method, table, metric, holdUntil } = this;
    return [identity, link, method, table, metric, this.#leaseInUse, holdUntil === undefined];
  }

  get #leaseInUse(): Lease | undefined {
    const lease = leaseOf(this.dhcp);
    if (lease === undefined) return this.leaving?.lease;
    return this.standing?.address === lease.terms.address ? lease : undefined;
  }

  /** A static link without carrier keeps its address, and nothing else. */
  get isDormant(): boolean {
    return this.method.kind === "static" && !isUsable(this.link) && this.holdUntil === undefined;
  }
}
