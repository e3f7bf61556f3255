import { after, formatIpv4, type Instant } from "@mnm/proto/net";
import {
  clientIdOf,
  type DhcpConfig,
  type DhcpEffect,
  type DhcpEvent,
  decodeLeaseRecord,
  encodeLeaseRecord,
  isClaimedRecord,
  isExpired,
  type Lease,
  leaseOf,
  type RememberedLease,
  STOPPED,
  step,
} from "../dhcp4/index.js";
import { isUsable, linkKindOf, linkRefOf } from "../link/index.js";
import { type KernelAddress, type KernelModel, MNM_PROTOCOL } from "../reconcile/index.js";
import { ArpDriver, type ArpVerdict } from "./arp-driver.js";
import { announceLease, noteRemarks, noteReply } from "./lease-announcer.js";
import type { ManagedLink } from "./managed-link.js";
import type { EngineEvent, GivenUpLease } from "./messages.js";
import { formatInterface, type Outbox } from "./outbox.js";
import { macsOf } from "./uplinks.js";

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
  readonly #kernel: KernelModel;
  readonly #arp: ArpDriver;

  /** @param kernel as it is at any time; only read */
  constructor(environment: EngineEnvironment, kernel: KernelModel) {
    this.#environment = environment;
    this.#kernel = kernel;
    const { randomUint32 } = environment;
    this.#arp = new ArpDriver({ randomUint32, ownMacs: () => macsOf(kernel) });
  }

  /** Looks at one link: carrier, remembered lease, port; starts or stops its DHCP machine. */
  drive(managed: ManagedLink, addresses: readonly KernelAddress[], outbox: Outbox): void {
    const heard = managed.followCarrier(outbox.now, linkKindOf(managed.link) === "wwan");
    if (managed.method.kind !== "dhcp") return;
    if (heard === "stop" && managed.dhcp.kind !== "stopped") {
      this.step(managed, { kind: "stop" }, outbox);
    }
    if (heard === "check") this.check(managed, outbox);
    this.#followMac(managed, outbox);
    if (managed.memory.kind === "unread") {
      managed.memory = { kind: "reading" };
      outbox.push({ kind: "load-lease", identity: managed.identity });
    }
    this.#startIfPossible(managed, addresses, outbox);
    this.#arp.follow(managed, outbox);
  }

  /**
   * A lease is granted to a client identifier, which is made of the MAC unless one is configured: with
   * another MAC the host is another client, and the lease is not its own (RFC 2131 §4.2). It is given
   * back in the old one's name, as a server may have no other address to give.
   */
  #followMac(managed: ManagedLink, outbox: Outbox): void {
    const { link, method, servedMac } = managed;
    if (link.mac === undefined) return;
    managed.servedMac = link.mac;
    if (servedMac === undefined || servedMac === link.mac || method.kind !== "dhcp") return;
    if (method.clientId !== undefined) {
      this.check(managed, outbox);
      return;
    }
    const held = leaseOf(managed.dhcp);
    const formerly = clientIdOf({ clientId: undefined, mac: servedMac });
    this.#leave(managed, held, outbox, formerly);
    forgetLease(managed, outbox);
    if (held === undefined) return;
    const before = formatInterface(held.terms.address, held.terms.prefixLength);
    const text = `MAC ${servedMac} became ${link.mac}: the lease of ${before} is the old one's`;
    outbox.emit("lease-expired", { reason: "link", link: managed.eventLink, before, text });
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

  /** Takes a DHCP message that the helper received, or what it says of those that it dropped. */
  receive(
    managed: ManagedLink,
    event: EngineEvent & { kind: "dhcp-packet" | "packets-dropped" },
    outbox: Outbox,
  ): void {
    if (event.kind === "packets-dropped") {
      managed.count(event.counter, event.count);
      return;
    }
    managed.count("received");
    this.step(managed, { ...event, kind: "packet" }, outbox);
  }

  /** Takes an ARP packet that the helper received. */
  receiveArp(managed: ManagedLink, packet: Uint8Array, outbox: Outbox): void {
    this.#hear(managed, this.#arp.receive(managed, packet, outbox), outbox);
  }

  /** Takes it that a packet was not sent, or that ARP is not watched as it was to be. */
  noteFailure(
    managed: ManagedLink | undefined,
    { kind, text }: EngineEvent & { kind: "dhcp-send-failed" | "arp-failed" },
    outbox: Outbox,
  ): void {
    if (kind === "arp-failed") {
      // A conflict may stay unseen then; the lease itself is as good as it was.
      outbox.log("debug", "ARP refused", { link: managed?.name, text });
      return;
    }
    managed?.count("send-failed");
    outbox.log("warn", "DHCP message not sent", { link: managed?.name, text });
  }

  #hear(managed: ManagedLink, verdicts: readonly ArpVerdict[], outbox: Outbox): void {
    for (const verdict of verdicts) {
      if (verdict.kind !== "claimed") this.step(managed, verdict, outbox);
      // A restart of ours need not ask again.
      else this.keepUnder(managed, outbox);
    }
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
    // One that is not in force, as without carrier: its server holds it for us all the same.
    const known = held ?? (managed.memory.kind === "read" ? managed.memory.lease : undefined);
    const lease = known === undefined || isExpired(known, outbox.now) ? undefined : known;
    const serverTold = this.#leave(managed, lease === held ? lease : undefined, outbox);
    // An operator does not wait because of what was before.
    managed.dhcp = STOPPED;
    managed.sendFailed = false;
    // One that waits for carrier, or has not been read yet.
    managed.memory = { kind: "read", lease: undefined };
    outbox.push({ kind: "forget-lease", identity: managed.identity });
    if (lease === undefined) return undefined;
    const { address, prefixLength, serverId } = lease.terms;
    const text = formatInterface(address, prefixLength);
    const server = formatIpv4(serverId);
    const sentence = serverTold
      ? `lease of ${text} given back to ${server}`
      : `lease of ${text} given up; server ${server} could not be told`;
    const base = { reason: "operator", link: managed.eventLink, before: text } as const;
    // Whoever listens has heard already that it is in force no more.
    if (held === undefined) outbox.log("info", sentence, { link: managed.name });
    else outbox.emit("lease-expired", { ...base, text: sentence });
    return { address: text, server, serverTold };
  }

  /** Stops, after giving the lease back if there is one in force; answers whether its server is told. */
  #leave(
    managed: ManagedLink,
    lease: Lease | undefined,
    outbox: Outbox,
    clientId?: Uint8Array,
  ): boolean {
    const serverTold = lease !== undefined && this.#canTell(managed, lease);
    if (serverTold) managed.leaving = { lease, until: after(outbox.now, LEAVING_MS) };
    this.step(managed, { kind: serverTold ? "release" : "stop" }, outbox, clientId);
    return serverTold;
  }

  /**
   * Whether a RELEASE can leave: it does from the lease's address, which may not be on the link yet.
   * Without carrier nobody would hear it, and it is said only once.
   */
  #canTell({ link, port }: ManagedLink, { terms }: Lease): boolean {
    if (port !== "open" || !isUsable(link)) return false;
    return this.#kernel.addresses.of(link.ifindex).some(({ address }) => address === terms.address);
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
    const lease = this.#recall(managed, record, outbox);
    managed.memory = { kind: "read", lease };
    managed.claimedBefore = isClaimedRecord(record) ? lease?.terms.address : undefined;
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

  /** @param clientId in whose name, if not the link's own */
  step(managed: ManagedLink, event: DhcpEvent, outbox: Outbox, clientId?: Uint8Array): void {
    const { link, method } = managed;
    if (link.mac === undefined || method.kind !== "dhcp") return;
    const config: DhcpConfig = {
      mac: link.mac,
      clientId: clientId ?? method.clientId,
      hostName: method.hostName ?? this.#environment.hostName,
      vendorClass: method.vendorClass,
      rapidCommit: method.rapidCommit,
    };
    const { randomUint32 } = this.#environment;
    const before = managed.dhcp;
    const next = step(before, event, { now: outbox.now, randomUint32, config });
    managed.dhcp = next.state;
    if (event.kind === "packet") noteReply(managed, { ...next, before }, outbox);
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
      if (remembered?.kind === "adopt") {
        const { address } = remembered.lease.terms;
        const kind = managed.claimedBefore === address ? "claimed" : "admitted";
        managed.standing = { kind, address };
      }
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
        noteRemarks(managed, effect.remarks, outbox);
        // Its end must not bring the address of the one before back.
        managed.leaving = undefined;
        this.#keep(managed, effect.lease, outbox);
        this.#arp.confirm(managed, outbox);
        announceLease(managed, effect, outbox);
        return;
      case "lease-rebinding":
        announceLease(managed, effect, outbox);
        return;
      case "remembered-refused":
        forgetLease(managed, outbox);
        return;
      case "lease-lost":
        // After mere loss of carrier the server is asked for the same address again. What an
        // operator gives up is forgotten, and told, by who gives it up.
        if (effect.reason !== "stopped" && effect.reason !== "released") {
          forgetLease(managed, outbox);
        }
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
    const { standing } = managed;
    const isClaimed = standing?.kind === "claimed" && standing.address === lease.terms.address;
    const record = encodeLeaseRecord(lease, this.#times(outbox.now), isClaimed);
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

function forgetLease(managed: ManagedLink, outbox: Outbox): void {
  managed.memory = { kind: "read", lease: undefined };
  outbox.push({ kind: "forget-lease", identity: managed.identity });
}

/** The lease in force on a link; undefined without one. */
export function leaseOfLink(managed: ManagedLink): Lease | undefined {
  return leaseOf(managed.dhcp);
}
