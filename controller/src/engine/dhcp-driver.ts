import { after, formatIpv4, type Instant, type MacAddress } from "@mnm/proto/net";
import {
  type DhcpConfig,
  type DhcpEffect,
  type DhcpEvent,
  decodeLeaseRecord,
  encodeLeaseRecord,
  isExpired,
  type Lease,
  leaseOf,
  type RememberedLease,
  step,
} from "../dhcp4/index.js";
import { isUsable, linkKindOf, linkRefOf } from "../link/index.js";
import type { KernelAddress } from "../reconcile/index.js";
import { MNM_PROTOCOL } from "../reconcile/index.js";
import type { Uplink } from "../uplink/index.js";
import { ArpDriver, type ArpVerdict } from "./arp-driver.js";
import type { ManagedLink } from "./managed-link.js";
import type { GivenUpLease } from "./messages.js";
import { formatInterface, type Outbox } from "./outbox.js";

/** What the world is to the engine beside events; tests pass literals. */
export interface EngineEnvironment {
  /** A fresh uint32, unpredictable in production. */
  readonly randomUint32: () => number;
  /** Milliseconds since 1970: only for what is written to disk. */
  readonly wallMs: () => number;
  readonly bootId: string;
  readonly hostName: string | undefined;
}

/**
 * How long an address outlives its RELEASE. The kernel may have to ask for the server's MAC first,
 * and drops what waits for the answer when the link's last address goes.
 */
const LEAVING_MS = 200;

/** Feeds each link's DHCP machine and turns what it wants into effects. */
export class DhcpDriver {
  readonly #environment: EngineEnvironment;
  readonly #arp: ArpDriver;

  /** @param ownMacs of every link of this host, now */
  constructor(environment: EngineEnvironment, ownMacs: () => ReadonlySet<MacAddress>) {
    this.#environment = environment;
    this.#arp = new ArpDriver({ randomUint32: environment.randomUint32, ownMacs });
  }

  /** Looks at one link: carrier, remembered lease, port; starts or stops its DHCP machine. */
  drive(managed: ManagedLink, addresses: readonly KernelAddress[], outbox: Outbox): void {
    const heard = managed.followCarrier(outbox.now, linkKindOf(managed.link) === "wwan");
    if (managed.method.kind !== "dhcp") return;
    if (heard === "stop" && managed.dhcp.kind !== "stopped") {
      this.step(managed, { kind: "stop" }, outbox);
    }
    if (heard === "check") this.check(managed, outbox);
    if (managed.memory.kind === "unread") {
      managed.memory = { kind: "reading" };
      outbox.push({ kind: "load-lease", identity: managed.identity });
    }
    this.#startIfPossible(managed, addresses, outbox);
    this.#arp.follow(managed, outbox);
  }

  /** Carrier is back, or the host has resumed: is the lease still good here? */
  check(managed: ManagedLink, outbox: Outbox): void {
    const gatewayAsked = this.#arp.check(managed, outbox);
    this.step(managed, { kind: "check", gatewayAsked }, outbox);
  }

  wake(managed: ManagedLink, outbox: Outbox): void {
    this.#hear(managed, this.#arp.step(managed, { kind: "wake" }, outbox), outbox);
    this.step(managed, { kind: "wake" }, outbox);
  }

  /** Takes an ARP packet that the helper received. */
  receiveArp(managed: ManagedLink, packet: Uint8Array, outbox: Outbox): void {
    this.#hear(managed, this.#arp.receive(managed, packet, outbox), outbox);
  }

  #hear(managed: ManagedLink, verdicts: readonly ArpVerdict[], outbox: Outbox): void {
    for (const kind of verdicts) this.step(managed, { kind }, outbox);
  }

  /** An operator wants an answer from a server now; a released link begins again. */
  renew(managed: ManagedLink, outbox: Outbox): void {
    if (managed.isReleased) managed.farewell = "none";
    this.step(managed, { kind: "renew" }, outbox);
  }

  /** Gives the lease back; the link asks for none until an operator wants one again. */
  release(managed: ManagedLink, outbox: Outbox): GivenUpLease | undefined {
    managed.farewell = "released";
    return this.#giveUp(managed, outbox);
  }

  /** Gives the lease back; the link begins anew, as one that has never had any, when it can. */
  reconnect(managed: ManagedLink, outbox: Outbox): GivenUpLease | undefined {
    managed.farewell = "reconnecting";
    return this.#giveUp(managed, outbox);
  }

  /** Ends what was {@link ManagedLink.leaving} for long enough; answers whether anything still is. */
  endLeaving(links: Iterable<ManagedLink>, now: Instant): boolean {
    let isAnyLeaving = false;
    for (const managed of links) {
      if (managed.leaving === undefined) continue;
      if (managed.leaving.until <= now) managed.leaving = undefined;
      else isAnyLeaving = true;
    }
    return isAnyLeaving;
  }

  #giveUp(managed: ManagedLink, outbox: Outbox): GivenUpLease | undefined {
    const held = leaseOf(managed.dhcp);
    const lease = held === undefined || isExpired(held, outbox.now) ? undefined : held;
    // Without carrier nobody would hear it, and it is said only once.
    const serverTold = lease !== undefined && managed.port === "open" && isUsable(managed.link);
    if (serverTold) managed.leaving = { lease, until: after(outbox.now, LEAVING_MS) };
    this.step(managed, { kind: serverTold ? "release" : "stop" }, outbox);
    managed.sendFailed = false;
    // One that waits for carrier, or has not been read yet.
    managed.memory = { kind: "read", lease: undefined };
    outbox.push({ kind: "forget-lease", identity: managed.identity });
    if (lease === undefined) return undefined;
    const { address, prefixLength, serverId } = lease.terms;
    const text = formatInterface(address, prefixLength);
    const server = formatIpv4(serverId);
    outbox.emit("lease-expired", {
      reason: "operator",
      link: managed.eventLink,
      before: text,
      text: serverTold
        ? `lease of ${text} given back to ${server}`
        : `lease of ${text} given up; server ${server} could not be told`,
    });
    return { address: text, server, serverTold };
  }

  /** The link's identity has another name now: keep its lease under that one. */
  keepUnder(managed: ManagedLink, outbox: Outbox): void {
    const remembered = managed.memory.kind === "read" ? managed.memory.lease : undefined;
    const lease = leaseOf(managed.dhcp) ?? remembered;
    if (lease !== undefined) this.#keep(managed, lease, outbox);
  }

  /** Takes what the lease store had for the link. */
  remember(managed: ManagedLink, record: unknown, outbox: Outbox): void {
    if (managed.memory.kind !== "reading") return;
    managed.memory = { kind: "read", lease: this.#recall(managed, record, outbox) };
  }

  #recall(managed: ManagedLink, record: unknown, outbox: Outbox): Lease | undefined {
    if (record === undefined) return undefined;
    const decoded = decodeLeaseRecord(record, this.#times(outbox.now));
    if (decoded.ok) return decoded.value;
    const { error } = decoded;
    // It is not used any more, but its address is asked for.
    if (error.code === "expired") return error.lease;
    const fields = { link: managed.name, reason: error.code };
    outbox.log("warn", "Remembered lease cannot be used", fields);
    return undefined;
  }

  /** `unique`: of two leases with one address, the later is declined. Answers what is left. */
  declineDuplicates(
    uplinks: ReadonlyMap<ManagedLink, Uplink>,
    outbox: Outbox,
  ): ReadonlyMap<ManagedLink, Uplink> {
    const kept = new Map<ManagedLink, Uplink>();
    const held = new Set<number>();
    const since = ([{ dhcp }]: readonly [ManagedLink, Uplink]): number =>
      leaseOf(dhcp)?.acquiredAt ?? 0;
    for (const [managed, uplink] of [...uplinks].toSorted((a, b) => since(a) - since(b))) {
      const { address } = uplink.addressing;
      if (leaseOf(managed.dhcp) !== undefined && held.has(address)) {
        this.step(managed, { kind: "conflict" }, outbox);
      } else {
        held.add(address);
        kept.set(managed, uplink);
      }
    }
    return kept;
  }

  step(managed: ManagedLink, event: DhcpEvent, outbox: Outbox): void {
    const { link, method } = managed;
    if (link.mac === undefined || method.kind !== "dhcp") return;
    const config: DhcpConfig = {
      mac: link.mac,
      clientId: method.clientId,
      hostName: method.hostName ?? this.#environment.hostName,
      vendorClass: method.vendorClass,
      rapidCommit: method.rapidCommit,
    };
    const { randomUint32 } = this.#environment;
    const next = step(managed.dhcp, event, { now: outbox.now, randomUint32, config });
    managed.dhcp = next.state;
    for (const effect of next.effects) this.#perform(managed, effect, outbox);
  }

  #startIfPossible(
    managed: ManagedLink,
    addresses: readonly KernelAddress[],
    outbox: Outbox,
  ): void {
    if (managed.port !== "open" || !isUsable(managed.link) || managed.isReleased) return;
    if (managed.dhcp.kind === "stopped" && managed.memory.kind === "read") {
      const remembered = rememberedOf(managed, managed.memory.lease, addresses);
      managed.wasStarted = true;
      if (remembered?.kind === "adopt") managed.claimed = remembered.lease.terms.address;
      this.step(managed, { kind: "start", remembered }, outbox);
    } else if (managed.sendFailed && !["bound", "init", "stopped"].includes(managed.dhcp.kind)) {
      this.step(managed, { kind: "renew" }, outbox);
    }
    managed.sendFailed = false;
  }

  #perform(managed: ManagedLink, effect: DhcpEffect, outbox: Outbox): void {
    switch (effect.kind) {
      case "send":
        this.#send(managed, effect, outbox);
        return;
      case "reply-ignored":
        managed.count(`refused-${effect.reason}`);
        outbox.log("debug", "DHCP reply ignored", { link: managed.name, reason: effect.reason });
        return;
      case "lease-bound":
      case "lease-renewed":
        for (const { option, problem } of effect.remarks) {
          outbox.log("warn", "Option of the lease left out", {
            link: managed.name,
            option,
            problem,
          });
        }
        this.#keep(managed, effect.lease, outbox);
        announceLease(managed, effect, outbox);
        return;
      case "lease-rebinding":
        announceLease(managed, effect, outbox);
        return;
      case "lease-lost":
        forgetLease(managed, effect, outbox);
        announceLease(managed, effect, outbox);
        return;
    }
  }

  #send(managed: ManagedLink, effect: DhcpEffect & { kind: "send" }, outbox: Outbox): void {
    if (managed.port !== "open") {
      managed.sendFailed = true;
      return;
    }
    managed.count(`sent-${effect.message}`);
    outbox.push({
      kind: "send-dhcp",
      link: linkRefOf(managed.link),
      unicast: effect.to.kind === "unicast" ? effect.to : undefined,
      payload: effect.payload,
    });
  }

  #keep(managed: ManagedLink, lease: Lease, outbox: Outbox): void {
    if (managed.farewell === "reconnecting") managed.farewell = "none";
    managed.memory = { kind: "read", lease };
    const record = encodeLeaseRecord(lease, this.#times(outbox.now));
    outbox.push({ kind: "save-lease", identity: managed.identity, record });
  }

  #times(now: Instant) {
    return { now, wallMs: this.#environment.wallMs(), bootId: this.#environment.bootId };
  }
}

/**
 * With its address still on the link, in our name, the lease goes on as if nothing had happened;
 * otherwise the server is asked whether it still holds.
 */
function rememberedOf(
  { wasStarted }: ManagedLink,
  lease: Lease | undefined,
  addresses: readonly KernelAddress[],
): RememberedLease | undefined {
  if (lease === undefined) return undefined;
  // Carrier was away since: an address that could not be removed meanwhile says nothing.
  if (wasStarted) return { kind: "reboot", lease };
  const { address, prefixLength } = lease.terms;
  const isInForce = addresses.some(
    (held) =>
      held.protocol === MNM_PROTOCOL && held.address === address && held.length === prefixLength,
  );
  return { kind: isInForce ? "adopt" : "reboot", lease };
}

type LeaseNews = Exclude<DhcpEffect, { kind: "send" | "reply-ignored" }>;

function forgetLease(
  managed: ManagedLink,
  { reason }: Extract<DhcpEffect, { kind: "lease-lost" }>,
  outbox: Outbox,
): void {
  // After mere loss of carrier the server is asked for the same address again. What an operator
  // gives up is forgotten, and told, by who gives it up.
  if (reason === "stopped" || reason === "released") return;
  managed.memory = { kind: "read", lease: undefined };
  outbox.push({ kind: "forget-lease", identity: managed.identity });
}

function announceLease(managed: ManagedLink, news: LeaseNews, outbox: Outbox): void {
  const { terms } = news.lease;
  const address = formatInterface(terms.address, terms.prefixLength);
  const server = formatIpv4(terms.serverId);
  const base = { reason: "lease", link: managed.eventLink } as const;
  switch (news.kind) {
    case "lease-bound":
      outbox.emit("lease-bound", {
        ...base,
        after: address,
        text: `lease of ${address} from ${server}`,
      });
      return;
    case "lease-renewed": {
      const before = formatInterface(news.before.terms.address, news.before.terms.prefixLength);
      const change = before === address ? address : `${before} became ${address}`;
      outbox.emit("lease-renewed", {
        ...base,
        before,
        after: address,
        text: `lease renewed: ${change}`,
      });
      return;
    }
    case "lease-rebinding":
      outbox.emit("lease-rebinding", {
        ...base,
        before: address,
        after: address,
        text: `server ${server} does not answer; asking any server to extend ${address}`,
      });
      return;
    case "lease-lost":
      announceLoss(managed, news, address, outbox);
      return;
  }
}

function announceLoss(
  managed: ManagedLink,
  { reason }: Extract<DhcpEffect, { kind: "lease-lost" }>,
  address: string,
  outbox: Outbox,
): void {
  const base = { link: managed.eventLink, before: address } as const;
  switch (reason) {
    case "expired":
      outbox.emit("lease-expired", {
        ...base,
        reason: "lease",
        text: `lease of ${address} expired`,
      });
      return;
    case "unconfirmed":
      outbox.emit("lease-expired", {
        ...base,
        reason: "lease",
        text: `nobody confirmed the lease of ${address} after carrier came back or the host resumed`,
      });
      return;
    case "refused":
      outbox.emit("lease-refused", {
        ...base,
        reason: "lease",
        text: `server refused the lease of ${address}`,
      });
      return;
    case "declined":
      outbox.emit("lease-declined", {
        ...base,
        reason: "collision",
        text: `declined ${address}: it is in use`,
      });
      return;
    case "released":
    case "stopped":
      outbox.log("info", "lease set aside", { link: managed.name, address, reason });
      return;
  }
}

/** The lease in force on a link; undefined without one. */
export function leaseOfLink(managed: ManagedLink): Lease | undefined {
  return leaseOf(managed.dhcp);
}
