import { formatIpv4, type Instant, type Ipv4, instantFromMs } from "@mnm/proto/net";
import {
  type DhcpConfig,
  type DhcpEffect,
  type DhcpEvent,
  type DhcpState,
  deadline,
  STOPPED,
  step,
} from "../dhcp4/index.js";
import {
  CONFIG,
  type Received,
  type ReplyFields,
  receive,
  replyOf,
  SERVER,
} from "./dhcp4-server.js";

type Send = DhcpEffect & { readonly kind: "send" };

/** Random numbers that are all about the same, but differ, as xids must. The middle: no jitter. */
export const LUCK = { least: 0, middle: 0x7fff_ffff, most: 0xffff_0000 } as const;
export type Luck = keyof typeof LUCK;

/** A server that answers at once and a client that does so too would go on for ever. */
const MOST_STEPS_AT_ONCE = 1_000;

/**
 * A DHCP client in virtual time. Its log reads like a capture: the second, then what was sent or
 * announced.
 */
export class DhcpSimulation {
  readonly log: string[] = [];
  readonly effects: DhcpEffect[] = [];
  readonly sentAtSec: number[] = [];
  state: DhcpState = STOPPED;
  /** Called with each message at the moment it is sent; answers what comes back, and after how long. */
  server: ((message: Received) => Omit<ReplyFields, "xid"> | undefined) | undefined;
  readonly #config: DhcpConfig;
  #now: Instant;
  #random: number;
  #stepsAtOnce = 0;

  constructor(config: Partial<DhcpConfig> = {}, startMs = 0, luck: Luck = "middle") {
    this.#config = { ...CONFIG, ...config };
    this.#now = instantFromMs(startMs);
    this.#random = LUCK[luck];
  }

  get now(): Instant {
    return this.#now;
  }

  /** The message sent last. */
  get last(): Received {
    const sent = this.effects.findLast((effect): effect is Send => effect.kind === "send");
    if (sent === undefined) throw new Error("Nothing was sent yet");
    return receive(sent.payload);
  }

  deliver(event: DhcpEvent): readonly DhcpEffect[] {
    const { now } = this;
    this.#stepsAtOnce += 1;
    if (this.#stepsAtOnce > MOST_STEPS_AT_ONCE) throw new Error("Time does not move");
    const randomUint32 = () => this.#random++;
    const { state, effects } = step(this.state, event, { now, randomUint32, config: this.#config });
    this.state = state;
    const answers: Uint8Array[] = [];
    for (const effect of effects) {
      this.effects.push(effect);
      this.log.push(`${seconds(now)} ${describe(effect)}`);
      if (effect.kind !== "send") continue;
      this.sentAtSec.push(now / 1000);
      const message = receive(effect.payload);
      const reply = this.server?.(message);
      if (reply !== undefined) answers.push(replyOf({ xid: message.xid, ...reply }));
    }
    for (const payload of answers) this.packet(payload);
    return effects;
  }

  /** A reply with the xid of the message sent last, unless it has one of its own. */
  reply(fields: Omit<ReplyFields, "xid"> & { readonly xid?: number }): readonly DhcpEffect[] {
    return this.packet(replyOf({ xid: this.last.xid, ...fields }));
  }

  packet(payload: Uint8Array, source: Ipv4 = SERVER): readonly DhcpEffect[] {
    return this.deliver({ kind: "packet", payload, source });
  }

  start(): void {
    this.deliver({ kind: "start", remembered: undefined });
  }

  check(gatewayAsked = false): void {
    this.deliver({ kind: "check", gatewayAsked });
  }

  /** From the start to a lease. */
  bind(ack: Partial<ReplyFields> = {}): void {
    this.start();
    this.reply({ type: "offer" });
    this.reply({ type: "ack", ...ack });
  }

  /** Moves time to `sec`, waking the client at each of its deadlines on the way. */
  advanceTo(sec: number): void {
    while (this.wakeOnce(sec));
    this.sleepTo(sec);
  }

  /** Moves time to the client's next deadline, unless that is after `sec`, and wakes it. */
  wakeOnce(sec: number): boolean {
    const due = deadline(this.state);
    if (due === undefined || due > sec * 1000) return false;
    this.#moveTo(Math.max(due, this.#now));
    this.deliver({ kind: "wake" });
    const next = deadline(this.state);
    if (next !== undefined && next <= this.#now) throw new Error("Deadline that does not move");
    return true;
  }

  /** Moves time without a wake, as a suspend does. */
  sleepTo(sec: number): void {
    this.#moveTo(sec * 1000);
  }

  #moveTo(ms: number): void {
    if (ms !== this.#now) this.#stepsAtOnce = 0;
    this.#now = instantFromMs(ms);
  }

  /** The log since the last call. */
  takeLog(): readonly string[] {
    return this.log.splice(0);
  }
}

function seconds(now: Instant): string {
  return `${Math.round(now / 10) / 100}s`;
}

function describe(effect: DhcpEffect): string {
  switch (effect.kind) {
    case "send": {
      const to = effect.to.kind === "unicast" ? ` to ${formatIpv4(effect.to.server)}` : "";
      return `send ${effect.message}${to}`;
    }
    case "reply-ignored":
      return `ignored ${effect.reason}`;
    case "remembered-refused":
      return `refused ${formatIpv4(effect.lease.terms.address)}`;
    case "lease-lost":
      return `lost ${formatIpv4(effect.lease.terms.address)} ${effect.reason}`;
    case "lease-bound":
    case "lease-renewed":
    case "lease-rebinding":
      return `${effect.kind.slice(6)} ${formatIpv4(effect.lease.terms.address)}`;
  }
}
