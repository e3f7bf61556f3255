/** Plays hostile messages into DHCP clients in every state, and watches what must always hold. */
import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Instant, instantFromMs, isHostUnicast, isNetworkOrBroadcast } from "@mnm/proto/net";
import {
  type DhcpConfig,
  type DhcpEffect,
  type DhcpEvent,
  type DhcpState,
  deadline,
  decodeLeaseRecord,
  encodeLeaseRecord,
  type Lease,
  leaseOf,
  STOPPED,
  step,
} from "../dhcp4/index.js";
import { mutations, type Random, randomFrom, XID } from "./dhcp4-mutations.js";
import { CONFIG, CONFLICT, replyOf, SERVER, u32 } from "./dhcp4-server.js";

export interface FuzzReport {
  readonly messages: number;
  /** Messages times the clients that read them. */
  readonly steps: number;
  /** What became of them, by verdict and reason. */
  readonly verdicts: ReadonlyMap<string, number>;
  readonly messagesPerSec: number;
  /** Of all steps; a machine that was merely busy is asked again. */
  readonly slowestMs: number;
  readonly slowest: Uint8Array;
  /** Of the heap, after the first tenth, in bytes. */
  readonly growth: number;
}

/** No message may take longer. */
const PATIENCE_MS = 50;

const NOW = instantFromMs(1_000_000);
const CONTEXT = { now: NOW, randomUint32: () => XID, config: CONFIG };
type Context = typeof CONTEXT;

interface Client {
  readonly state: DhcpState;
  readonly context: Context;
}

/** One client in each state; of those that may differ in how they got there, one for each way. */
export function clientsInEveryState(): readonly Client[] {
  const at = (sec: number) => ({ ...CONTEXT, now: instantFromMs(NOW + sec * 1000) });
  const packet = (type: "offer" | "ack") =>
    ({ kind: "packet", payload: replyOf({ type, xid: XID }), source: SERVER }) as const;
  const next = (state: DhcpState, event: DhcpEvent, context: Context = CONTEXT): Client => ({
    state: step(state, event, context).state,
    context,
  });
  const rapid = { ...CONTEXT, config: { ...CONFIG, rapidCommit: true } };
  const selecting = next(STOPPED, { kind: "start", remembered: undefined });
  const requesting = next(selecting.state, packet("offer"));
  const bound = next(requesting.state, packet("ack"));
  const lease = leaseOf(bound.state);
  assert.ok(lease !== undefined);
  const check = { kind: "check", gatewayAsked: false } as const;
  return [
    { state: STOPPED, context: CONTEXT },
    next(bound.state, CONFLICT),
    selecting,
    next(STOPPED, { kind: "start", remembered: undefined }, rapid),
    requesting,
    next(bound.state, check),
    next(bound.state, check, at(10)),
    next(STOPPED, { kind: "start", remembered: { kind: "reboot", lease } }, at(10)),
    bound,
    next(bound.state, { kind: "wake" }, at(1800)),
    next(bound.state, { kind: "wake" }, at(3150)),
  ];
}

export function fuzz(options: { readonly seed: number; readonly count: number }): FuzzReport {
  const { seed, count } = options;
  const verdicts = new Map<string, number>();
  const nextMessage = mutations(seed);
  const clients = clientsInEveryState();
  const wanderer = new Wanderer(randomFrom(~seed));
  let slowestMs = 0;
  let slowest: Uint8Array = new Uint8Array(0);
  let heapAtStart = 0;
  const startedAt = performance.now();
  for (let turn = 0; turn < count; turn += 1) {
    // By then everything is compiled, and what the compiler keeps is counted in.
    if (turn === Math.floor(count / 10)) heapAtStart = heapUsed();
    const payload = nextMessage();
    try {
      const ms = Math.max(feedAll(clients, payload, verdicts), wanderer.hear(payload));
      if (ms > slowestMs) [slowestMs, slowest] = [ms, payload];
    } catch (cause) {
      const hex = Buffer.from(payload).toString("hex");
      throw new Error(`Message ${turn} of seed ${seed}: ${hex}`, { cause });
    }
  }
  const seconds = (performance.now() - startedAt) / 1000;
  return {
    messages: count,
    steps: count * (clients.length + 1),
    verdicts,
    messagesPerSec: Math.round(count / seconds),
    slowestMs,
    slowest,
    growth: heapUsed() - heapAtStart,
  };
}

/** Plays one message to each client; answers how long the slowest took, and counts verdicts. */
export function feedAll(
  clients: readonly Client[],
  payload: Uint8Array,
  verdicts: Map<string, number>,
): number {
  let slowestMs = 0;
  for (const { state, context } of clients) {
    const { ms, result } = timed(state, payload, context);
    slowestMs = Math.max(slowestMs, ms);
    checkStep(state, result.state, result.effects, { payload, context });
    const verdict = verdictOf(state, result.state, result.effects);
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
  }
  return slowestMs;
}

/** A step and how long it takes; the best of some tries, where one takes long. */
function timed(state: DhcpState, payload: Uint8Array, context: Context) {
  const event = { kind: "packet", payload, source: SERVER } as const;
  const once = () => {
    const startedAt = performance.now();
    const result = step(state, event, context);
    return { ms: performance.now() - startedAt, result };
  };
  let best = once();
  for (let again = 0; again < 5 && best.ms > PATIENCE_MS / 10; again += 1) {
    const next = once();
    if (next.ms < best.ms) best = next;
  }
  assert.ok(best.ms < PATIENCE_MS, `${best.ms} ms in ${state.kind}`);
  return best;
}

function verdictOf(before: DhcpState, after: DhcpState, effects: readonly DhcpEffect[]): string {
  const sent = effects.find((effect) => effect.kind === "send");
  const ignored = effects.find((effect) => effect.kind === "reply-ignored");
  if (sent?.message === "decline") return `decline: ${ignored?.reason ?? "?"}`;
  if (ignored !== undefined) return `drop: ${ignored.reason}`;
  if (after.kind === "bound") return before.kind === "bound" ? "?" : "accept: ACK";
  return after.kind === "requesting" ? "accept: OFFER" : "restart: NAK";
}

interface Given {
  readonly payload: Uint8Array;
  readonly context: Context;
}

/** What holds after any message in any state. */
function checkStep(
  before: DhcpState,
  after: DhcpState,
  effects: readonly DhcpEffect[],
  { payload, context }: Given,
): void {
  assert.ok(after !== before || effects.length > 0, "something is said of every message");
  checkAfter(before, after, effects);
  const lease = leaseOf(after);
  if (lease === undefined || lease === leaseOf(before)) return;
  // Read without the code under test: whose message this is.
  const header = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  assert.ok(header.length >= 240 && header.length <= 1472, "a lease from a message of that length");
  assert.deepEqual([header[0], header[1], header[2]], [2, 1, 6]);
  assert.equal(header.readUInt32BE(4), xidOf(before));
  assert.equal(header.toString("hex", 28, 34), CONFIG.mac.replaceAll(":", ""));
  assert.equal(header.readUInt32BE(236), 0x63825363);
  assert.equal(header.readUInt32BE(16), lease.terms.address);
  checkLease(lease, context.now);
}

function xidOf(state: DhcpState): number | undefined {
  return "exchange" in state ? state.exchange.xid : undefined;
}

/** What holds after any event. */
function checkAfter(before: DhcpState, after: DhcpState, effects: readonly DhcpEffect[]): void {
  assert.ok(effects.length <= 6, "no storm");
  const due = deadline(after);
  assert.ok(Number.isFinite(due ?? 0), `${after.kind} due at ${due}`);
  // Leases announced are leases held.
  let announced = leaseOf(before);
  for (const effect of effects) {
    if (effect.kind === "lease-lost") announced = undefined;
    if (effect.kind === "lease-bound" || effect.kind === "lease-renewed") announced = effect.lease;
  }
  assert.equal(announced, leaseOf(after));
}

const NAME = /^[A-Za-z0-9.-]{1,253}$/;

/** Nothing that could hurt whoever uses the lease, by rules that are written here once more. */
export function checkLease(lease: Lease, now: Instant): void {
  const { terms, timers } = lease;
  const { address, prefixLength, gateways, routes, mtu } = terms;
  assert.ok(isHostUnicast(address) && !isNetworkOrBroadcast(address, prefixLength));
  assert.ok(isHostUnicast(terms.serverId) && terms.serverId !== address);
  assert.ok(prefixLength >= 8 && prefixLength <= 32);
  const hops = [...gateways, ...routes.flatMap(({ gateway }) => gateway ?? [])];
  for (const hop of hops) assert.ok(isHostUnicast(hop) && hop !== address, `by ${hop}`);
  const servers = [...terms.dnsServers, ...terms.ntpServers];
  assert.ok(servers.every(isHostUnicast));
  assert.ok(gateways.length <= 8 && routes.length <= 64 && servers.length <= 16);
  const names = [terms.hostName, terms.domain, ...terms.searchDomains];
  for (const name of names) assert.ok(name === undefined || NAME.test(name), name);
  const portal = terms.captivePortal ?? "https://";
  assert.ok(/^https:\/\/[!-~]*$/.test(portal) && !/["<>\\^`{|}]/.test(portal), portal);
  assert.ok(mtu === undefined || (mtu >= 576 && mtu <= 9216));
  assert.ok(terms.leaseSec >= 10 && terms.leaseSec <= 0xffff_ffff);
  if (timers.kind === "finite") {
    const { t1, t2, expiry } = timers;
    assert.ok(lease.acquiredAt < t1 && t1 <= t2 && t2 <= expiry && expiry > now);
  }
  const clock = { now, wallMs: 1_700_000_000_000, bootId: "boot" };
  const record = JSON.stringify(encodeLeaseRecord(lease, clock));
  assert.deepEqual(decodeLeaseRecord(JSON.parse(record), clock), { ok: true, value: lease });
}

/** A thousand years: leases of 136 years come in a row. */
const END_OF_TIME = 1000 * 365 * 86_400_000;

/** A client that goes on from message to message, through all states and through time. */
class Wanderer {
  readonly #random: Random;
  #state: DhcpState = STOPPED;
  #now = NOW;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Answers how long it took. */
  hear(payload: Uint8Array): number {
    if (this.#random(4) === 0) this.#live();
    const copy = Uint8Array.from(payload);
    const xid = xidOf(this.#state);
    const isAimed = copy.length >= 8 && Buffer.from(copy.buffer).readUInt32BE(4) === XID;
    if (isAimed && xid !== undefined) copy.set(u32(xid), 4);
    const context = this.#context();
    const before = this.#state;
    const { ms, result } = timed(before, copy, context);
    checkStep(before, result.state, result.effects, { payload: copy, context });
    this.#state = result.state;
    return ms;
  }

  /** Something other than a message happens, mostly that time passes. */
  #live(): void {
    if (this.#now > END_OF_TIME) [this.#state, this.#now] = [STOPPED, NOW];
    const event = this.#nextEvent();
    const due = deadline(this.#state) ?? this.#now;
    if (event.kind === "wake") this.#now = instantFromMs(Math.ceil(Math.max(due, this.#now)));
    const before = this.#state;
    const { state, effects } = step(before, event, this.#context());
    checkAfter(before, state, effects);
    const next = deadline(state) ?? Number.POSITIVE_INFINITY;
    assert.ok(event.kind !== "wake" || next > this.#now, `${state.kind} is due again at once`);
    this.#state = state;
  }

  #nextEvent(): DhcpEvent {
    if (this.#state.kind === "stopped") return { kind: "start", remembered: undefined };
    switch (this.#random(12)) {
      case 0:
        return { kind: "check", gatewayAsked: this.#random(2) === 0 };
      case 1:
        return CONFLICT;
      case 2:
        return { kind: "renew" };
      case 3:
        return this.#random(4) === 0 ? { kind: "stop" } : { kind: "release" };
      default:
        return { kind: "wake" };
    }
  }

  #context(): Context {
    const config: DhcpConfig = CONFIG;
    return { now: this.#now, randomUint32: () => this.#random(0xffff_ffff), config };
  }
}

setFlagsFromString("--expose-gc");
const collect: unknown = runInNewContext("gc");

/** In bytes, without what is garbage. */
function heapUsed(): number {
  if (typeof collect === "function") collect();
  return process.memoryUsage().heapUsed;
}
