import { formatIpv4, type Instant, instantFromMs } from "@mnm/proto/net";
import {
  type ArpMessage,
  type ArpPacket,
  deadline,
  type GuardEffect,
  type GuardEvent,
  type GuardState,
  gatewayAsked,
  mayUse,
  step,
  UNGUARDED,
} from "../arp/index.js";
import { ipv4, mac } from "./dhcp4-server.js";

/** The cast, by their last bytes: we, our gateway, and a stranger who has our address. */
export const OWN_MAC = mac("02:00:00:00:00:01");
export const OTHER_OWN_MAC = mac("02:00:00:00:00:02");
export const GATEWAY_MAC = mac("02:00:00:00:00:fe");
export const STRANGER_MAC = mac("02:00:00:00:00:99");
export const ADDRESS = ipv4("192.0.2.50");
export const GATEWAY = ipv4("192.0.2.1");

/** What the helper lets through on one link (helper.proto, SendArp). */
const SENDS_PER_SEC = 2;
const SEND_BURST = 6;

/**
 * A guard in virtual time. Its log reads like a capture: the second, then what was sent or said.
 * Random numbers are in the middle of their range unless told otherwise.
 */
export class GuardSimulation {
  readonly log: string[] = [];
  state: GuardState = UNGUARDED;
  randomUint32: () => number = () => 0x7fff_ffff;
  /** Messages in order, and whether the helper refused them as over its limit. */
  readonly messages: { readonly message: ArpMessage; readonly isRefused: boolean }[] = [];
  #tokens = SEND_BURST;
  #now = instantFromMs(0);

  get now(): Instant {
    return this.#now;
  }

  /** Whether the address may be used, and whether the gateway owes an answer. */
  get isInUse(): boolean {
    return mayUse(this.state);
  }

  get isGatewayAsked(): boolean {
    return gatewayAsked(this.state);
  }

  deliver(event: GuardEvent): readonly GuardEffect[] {
    const { now, randomUint32 } = this;
    const ownMacs = new Set([OWN_MAC, OTHER_OWN_MAC]);
    const { state, effects } = step(this.state, event, { now, randomUint32, ownMacs });
    this.state = state;
    for (const effect of effects) {
      this.log.push(`${seconds(now)} ${describe(effect)}`);
      if (effect.kind === "send") this.#send(effect.message);
    }
    return effects;
  }

  claim(mode: "optimistic" | "strict" = "optimistic"): void {
    this.deliver({ kind: "claim", address: ADDRESS, gateway: GATEWAY, mode });
  }

  packet(packet: Partial<ArpPacket>): readonly GuardEffect[] {
    const { operation = "reply", senderMac = STRANGER_MAC } = packet;
    const { sender = ADDRESS, target = ADDRESS } = packet;
    return this.deliver({ kind: "packet", packet: { operation, senderMac, sender, target } });
  }

  /** The gateway answers, from the MAC that it usually has. */
  answer(senderMac = GATEWAY_MAC): readonly GuardEffect[] {
    return this.packet({ sender: GATEWAY, senderMac });
  }

  /** From the lease to the end of all that follows, with the gateway's MAC known. */
  settle(): void {
    this.claim();
    this.advanceTo(3);
    this.answer();
    this.advanceTo(60);
    this.log.splice(0);
  }

  /** Moves time to `sec`, waking the guard at each of its deadlines on the way. */
  advanceTo(sec: number): void {
    const until = instantFromMs(Math.round(sec * 1000));
    for (let due = deadline(this.state); due !== undefined && due <= until; ) {
      this.sleepTo(Math.max(due, this.#now) / 1000);
      this.deliver({ kind: "wake" });
      const next = deadline(this.state);
      if (next !== undefined && next <= this.#now) throw new Error("Deadline that does not move");
      due = next;
    }
    this.sleepTo(until / 1000);
  }

  /** Moves time without a wake, as a suspend does. */
  sleepTo(sec: number): void {
    const next = instantFromMs(Math.round(sec * 1000));
    const refill = ((next - this.#now) / 1000) * SENDS_PER_SEC;
    this.#tokens = Math.min(SEND_BURST, this.#tokens + refill);
    this.#now = next;
  }

  /** The log since the last call. */
  takeLog(): readonly string[] {
    return this.log.splice(0);
  }

  #send(message: ArpMessage): void {
    const isRefused = this.#tokens < 1;
    if (!isRefused) this.#tokens -= 1;
    this.messages.push({ message, isRefused });
  }
}

function seconds(now: Instant): string {
  return `${Math.round(now / 10) / 100}s`;
}

function describe(effect: GuardEffect): string {
  switch (effect.kind) {
    case "watch":
      return `watch ${effect.addresses.map(formatIpv4).join(" ") || "nobody"}`;
    case "send":
      return describeMessage(effect.message);
    case "conflict": {
      const outcome = effect.isDefended ? "defended" : "given up";
      return `conflict with ${effect.mac.slice(-2)}, ${formatIpv4(effect.address)} ${outcome}`;
    }
    case "claimed":
    case "same-network":
      return effect.kind;
  }
}

function describeMessage(message: ArpMessage): string {
  switch (message.kind) {
    case "probe":
      return `who-has ${formatIpv4(message.target)} tell 0.0.0.0`;
    case "announcement":
      return `announce ${formatIpv4(message.address)}`;
    case "request": {
      const { gateway, gatewayMac } = message;
      const to = gatewayMac === undefined ? "" : ` (to ${gatewayMac.slice(-2)})`;
      return `who-has ${formatIpv4(gateway)} tell ${formatIpv4(message.sender)}${to}`;
    }
  }
}
