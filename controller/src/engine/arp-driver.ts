import { formatIpv4, type Ipv4, type MacAddress } from "@mnm/proto/net";
import {
  decodeArp,
  type GuardEffect,
  type GuardEvent,
  gatewayAsked,
  step,
  UNGUARDED,
} from "../arp/index.js";
import { type DhcpEvent, leaseOf } from "../dhcp4/index.js";
import { isUsable, linkRefOf } from "../link/index.js";
import type { ManagedLink } from "./managed-link.js";
import type { Outbox } from "./outbox.js";

/** What came of what was heard by ARP, or was not. */
export type ArpVerdict =
  | { readonly kind: "claimed" }
  | Extract<DhcpEvent, { kind: "conflict" | "same-network" }>;

export interface ArpEnvironment {
  readonly randomUint32: () => number;
  /** Of every link of this host: two links on one segment hear each other. */
  readonly ownMacs: () => ReadonlySet<MacAddress>;
}

const ARPHRD_ETHER = 1;
const NO_MACS: ReadonlySet<MacAddress> = new Set();

/**
 * Lets each link's guard follow its lease: is the address ours alone (RFC 5227), and is this still
 * the same network (RFC 4436)?
 */
export class ArpDriver {
  readonly #environment: ArpEnvironment;

  constructor(environment: ArpEnvironment) {
    this.#environment = environment;
  }

  /** Compares what is guarded with the lease in force. */
  follow(managed: ManagedLink, outbox: Outbox): void {
    followStanding(managed);
    const wanted = guardedLease(managed);
    const { guarded } = managed;
    if (guarded !== undefined && guarded.address !== wanted?.address) {
      managed.guarded = undefined;
      this.step(managed, { kind: "drop" }, outbox);
    }
    if (wanted === undefined) return;
    const { address, gateway } = wanted;
    if (managed.guarded === undefined) {
      const { standing } = managed;
      const mode = standing === undefined ? "strict" : "optimistic";
      // After a restart of ours, or of the helper's, it has been ours for a while.
      const event: GuardEvent =
        standing?.kind === "claimed"
          ? { kind: "adopt", address, gateway }
          : { kind: "claim", address, gateway, mode };
      managed.guarded = wanted;
      this.step(managed, event, outbox);
    } else if (managed.guarded.gateway !== gateway) {
      managed.guarded = wanted;
      this.step(managed, { kind: "gateway", gateway }, outbox);
    }
  }

  /** A server has granted the lease anew. */
  confirm(managed: ManagedLink, outbox: Outbox): void {
    const lease = guardedLease(managed);
    const { guarded } = managed;
    const isSame = lease?.address === guarded?.address && lease?.gateway === guarded?.gateway;
    // What has changed, the guard learns of by `follow`.
    if (isSame) this.step(managed, { kind: "confirm" }, outbox);
  }

  /** Carrier is back, or the host has resumed. Answers whether the gateway is being asked. */
  check(managed: ManagedLink, outbox: Outbox): boolean {
    this.step(managed, { kind: "check" }, outbox);
    return gatewayAsked(managed.guard);
  }

  /** Takes what the helper received on the link. */
  receive(managed: ManagedLink, bytes: Uint8Array, outbox: Outbox): readonly ArpVerdict[] {
    const decoded = decodeArp(bytes);
    if (!decoded.ok) return [];
    return this.step(managed, { kind: "packet", packet: decoded.value }, outbox);
  }

  step(managed: ManagedLink, event: GuardEvent, outbox: Outbox): readonly ArpVerdict[] {
    const { randomUint32, ownMacs } = this.#environment;
    // Gathered for the few events that need them.
    const macs = event.kind === "packet" ? ownMacs() : NO_MACS;
    const context = { now: outbox.now, randomUint32, ownMacs: macs };
    const next = step(managed.guard, event, context);
    managed.guard = next.state;
    return next.effects.flatMap((effect) => perform(managed, effect, outbox));
  }
}

/** The helper has forgotten what was to be watched. */
export function forgetGuard(managed: ManagedLink): void {
  managed.guard = UNGUARDED;
  managed.guarded = undefined;
}

/**
 * Only strict mode keeps an address from the link until it is claimed, and not one that is there: a
 * change of the configuration would take a working uplink down.
 */
function followStanding(managed: ManagedLink): void {
  const address = leaseOf(managed.dhcp)?.terms.address;
  if (managed.standing?.address !== address) managed.standing = undefined;
  const { method, link } = managed;
  const isStrict = method.kind === "dhcp" && method.conflictDetection === "strict";
  const mustBeClaimed = isStrict && link.hardwareType === ARPHRD_ETHER;
  if (address !== undefined && !mustBeClaimed) managed.standing ??= { kind: "admitted", address };
}

/** The lease whose address ARP can and should guard. */
function guardedLease(
  managed: ManagedLink,
): { readonly address: Ipv4; readonly gateway: Ipv4 | undefined } | undefined {
  const { method, link, port, dhcp } = managed;
  const isWanted = method.kind === "dhcp" && method.conflictDetection !== "off";
  if (!isWanted || link.hardwareType !== ARPHRD_ETHER || port !== "open") return undefined;
  const lease = leaseOf(dhcp);
  if (lease === undefined) return undefined;
  // While carrier is away nothing new is claimed, and what is guarded stays so.
  if (managed.guarded === undefined && !isUsable(link)) return undefined;
  return { address: lease.terms.address, gateway: lease.terms.gateways[0] };
}

function perform(managed: ManagedLink, effect: GuardEffect, outbox: Outbox): readonly ArpVerdict[] {
  const link = linkRefOf(managed.link);
  switch (effect.kind) {
    case "watch":
      outbox.push({ kind: "watch-arp", link, addresses: effect.addresses });
      return [];
    case "send":
      managed.count(`arp-sent-${effect.message.kind}`);
      outbox.push({ kind: "send-arp", link, message: effect.message });
      return [];
    case "claimed":
      if (managed.guarded === undefined) return [];
      managed.standing = { kind: "claimed", address: managed.guarded.address };
      outbox.log("debug", "Nobody else has the address", { link: managed.name });
      return [{ kind: "claimed" }];
    case "conflict":
      announceConflict(managed, effect, outbox);
      if (effect.isDefended) return [];
      managed.guarded = undefined;
      return [{ kind: "conflict", holder: { kind: "host", mac: effect.mac } }];
    case "same-network":
      return [effect];
  }
}

function announceConflict(
  managed: ManagedLink,
  { address, mac, isDefended }: GuardEffect & { kind: "conflict" },
  outbox: Outbox,
): void {
  managed.count(isDefended ? "conflict-defended" : "conflict-lost");
  const text = formatIpv4(address);
  const outcome = isDefended ? "told it that the address is taken" : "gave the address up";
  outbox.emit("conflict", {
    reason: "collision",
    link: managed.eventLink,
    before: text,
    after: isDefended ? text : "",
    text: `${mac} uses ${text} too; ${outcome}`,
  });
}
