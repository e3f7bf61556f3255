/**
 * Is our address ours alone (RFC 5227), and is this still the same network (RFC 4436)?
 *
 * Sans-IO, one per link: `step` maps a state and an event to the next state and the effects for
 * the caller to carry out, in order. After every step, arm one timer for `deadline(state)` and
 * deliver `wake` when it fires.
 *
 * What is watched is derived from the states before and after a step, so that the helper hears of
 * every change and tells of nobody's packets for longer than they matter.
 *
 * No more is sent than the helper lets through, 2 packets a second and 6 at once: probes begin at
 * most every `CHECK_PACE_MS`, a defence is due every `DEFEND_INTERVAL_MS` at most, and the rest
 * follows from these. Leases change too seldom to matter.
 */
import { after, assertNever, type Instant, type Ipv4, type MacAddress } from "@mnm/proto/net";
import type { ArpMessage, ArpPacket } from "./packet.js";
import {
  type ConflictMode,
  type Duty,
  type GuardEffect,
  type GuardEvent,
  type Guarded,
  type GuardState,
  type Inquiry,
  UNGUARDED,
} from "./state.js";

/** The world as of this step; tests pass literals. */
export interface GuardContext {
  readonly now: Instant;
  /** A fresh uint32, unpredictable in production. */
  readonly randomUint32: () => number;
  /** Every MAC of this host: two of its links in one network are no conflict. */
  readonly ownMacs: ReadonlySet<MacAddress>;
}

export interface GuardStep {
  readonly state: GuardState;
  readonly effects: readonly GuardEffect[];
}

type Probing = Extract<Duty, { readonly kind: "probing" }>;

// RFC 5227 §1.1 and §2.1.1.
const PROBE_WAIT_MS = 1000;
const PROBE_NUM = 3;
const PROBE_MIN_MS = 1000;
const PROBE_MAX_MS = 2000;
const ANNOUNCE_WAIT_MS = 2000;
const ANNOUNCE_NUM = 2;
const ANNOUNCE_INTERVAL_MS = 2000;
const DEFEND_INTERVAL_MS = 10_000;

/** The address is in use meanwhile, so what matters is to know soon. */
const OPTIMISTIC_PROBE_MS = 100;

/**
 * The helper announces only what is on the link, and in strict mode the address is put there
 * after `claimed`.
 */
const STRICT_ANNOUNCE_DELAY_MS = 500;

/** From one beginning of probes to the next, but for a new address. */
const CHECK_PACE_MS = 4000;

/** A wake as late as this is a host that slept: it may be elsewhere, and has not listened. */
const LATE_MS = 1000;

/** After each request for the gateway: the next at 1 and 4 s, then waiting ends. */
const LEARN_INTERVALS_MS = [1000, 3000, 4000];

/**
 * A late answer counts for as long as the DHCP client waits for one to its three requests, which
 * is 31 s at most.
 */
const ASK_INTERVALS_MS = [1000, 3000, 28_000];

/** After a restart every link asks; at once they would be a burst. */
const ADOPT_SPREAD_MS = 1000;

const NO_INQUIRY: Inquiry = { kind: "none" };

export function step(state: GuardState, event: GuardEvent, context: GuardContext): GuardStep {
  const next = transition(state, event, context);
  const before = watchedOf(state);
  const addresses = watchedOf(next.state);
  if (before.join() === addresses.join()) return next;
  return { state: next.state, effects: [{ kind: "watch", addresses }, ...next.effects] };
}

/** When to deliver `wake`, or undefined while only another event can matter. */
export function deadline(state: GuardState): Instant | undefined {
  if (state.kind === "unguarded") return undefined;
  const { duty, inquiry, recheckAt } = state;
  const dutyAt = duty.kind === "watching" ? undefined : duty.dueAt;
  const inquiryAt = inquiry.kind === "none" ? undefined : inquiry.dueAt;
  return earliest(recheckAt, earliest(dutyAt, inquiryAt));
}

/** Whether the address may be on the link: not in strict mode until probing has ended. */
export function mayUse(state: GuardState): boolean {
  if (state.kind === "unguarded" || state.duty.kind !== "probing") return true;
  return state.duty.mode === "optimistic";
}

/** Whether the last check asks the gateway by unicast, and it has not answered. */
export function gatewayAsked(state: GuardState): boolean {
  if (state.kind === "unguarded") return false;
  if (state.inquiry.kind === "asking") return true;
  return state.recheckAt !== undefined && state.gatewayMac !== undefined;
}

/** The gateway only while an answer is awaited: it has a lot to say to others. */
function watchedOf(state: GuardState): readonly Ipv4[] {
  if (state.kind === "unguarded") return [];
  const { address, gateway, inquiry } = state;
  const isAwaited = inquiry.kind !== "none" && inquiry.sent > 0;
  return isAwaited && gateway !== undefined ? [address, gateway] : [address];
}

function transition(state: GuardState, event: GuardEvent, context: GuardContext): GuardStep {
  switch (event.kind) {
    case "claim":
      if (isSameAddress(state, event.address)) return onGateway(state, event.gateway, context);
      return onClaim(event, context);
    case "adopt":
      if (isSameAddress(state, event.address)) return onGateway(state, event.gateway, context);
      return onAdopt(event, context);
    case "gateway":
      return state.kind === "guarded" ? onGateway(state, event.gateway, context) : goTo(state);
    case "confirm":
      return state.kind === "guarded" ? onConfirm(state, context) : goTo(state);
    case "drop":
      return goTo(UNGUARDED);
    case "check":
      return state.kind === "guarded" ? onCheck(state, context) : goTo(state);
    case "wake":
      return state.kind === "guarded" ? onWake(state, context) : goTo(state);
    case "packet":
      return state.kind === "guarded" ? onPacket(state, event.packet, context) : goTo(state);
    default:
      return assertNever(event);
  }
}

function isSameAddress(state: GuardState, address: Ipv4): state is Guarded {
  return state.kind === "guarded" && state.address === address;
}

function onClaim(
  { address, gateway, mode }: Extract<GuardEvent, { readonly kind: "claim" }>,
  context: GuardContext,
): GuardStep {
  const state = guardedOf(address, gateway);
  return probe({ ...state, probedAt: context.now }, "claim", mode, context);
}

function onAdopt(
  { address, gateway }: Extract<GuardEvent, { readonly kind: "adopt" }>,
  { now, randomUint32 }: GuardContext,
): GuardStep {
  const state = guardedOf(address, gateway);
  if (gateway === undefined) return goTo(state);
  const dueAt = after(now, within(0, ADOPT_SPREAD_MS, randomUint32));
  return goTo({ ...state, inquiry: { kind: "learning", sent: 0, dueAt } });
}

function guardedOf(address: Ipv4, gateway: Ipv4 | undefined): Guarded {
  return {
    kind: "guarded",
    address,
    gateway,
    gatewayMac: undefined,
    duty: { kind: "watching" },
    inquiry: NO_INQUIRY,
    probedAt: undefined,
    recheckAt: undefined,
    contestedAt: undefined,
  };
}

function onGateway(state: Guarded, gateway: Ipv4 | undefined, context: GuardContext): GuardStep {
  if (gateway === state.gateway) return goTo(state);
  const fresh: Guarded = { ...state, gateway, gatewayMac: undefined, inquiry: NO_INQUIRY };
  // While probing, the first announcement comes before it.
  return state.duty.kind === "probing" ? goTo(fresh) : learn(fresh, context);
}

/**
 * We are where the lease's gateway is, so now is the time to ask who has its address: another MAC
 * than before is a router that has taken over, not another network.
 */
function onConfirm(state: Guarded, context: GuardContext): GuardStep {
  // After probing, or when the gateway does not answer from the MAC that it had, it is asked anyway.
  const isBusy = state.duty.kind === "probing" || state.inquiry.kind !== "none";
  return isBusy ? goTo(state) : learn(state, context);
}

function onCheck(state: Guarded, context: GuardContext): GuardStep {
  const { probedAt } = state;
  const paced = probedAt === undefined ? context.now : after(probedAt, CHECK_PACE_MS);
  if (context.now < paced) return goTo({ ...state, recheckAt: paced });
  return recheck(state, context);
}

/** Probes once more; asks the gateway whose MAC is known, and forgets what it was asked before. */
function recheck(state: Guarded, context: GuardContext): GuardStep {
  const { now } = context;
  const isClaim = state.duty.kind === "probing" && state.duty.cause === "claim";
  const cause = isClaim ? "claim" : "check";
  const mode = mayUse(state) ? "optimistic" : "strict";
  const begun: Guarded = { ...state, probedAt: now, recheckAt: undefined, inquiry: NO_INQUIRY };
  const probed = probe(begun, cause, mode, context);
  const { gatewayMac } = state;
  if (gatewayMac === undefined) return probed;
  const inquiry: Inquiry = { kind: "asking", mac: gatewayMac, sent: 0, dueAt: now };
  return andThen(probed, (current) => request({ ...current, inquiry }, context));
}

/** Begins a series of probes. */
function probe(
  state: Guarded,
  cause: Probing["cause"],
  mode: ConflictMode,
  context: GuardContext,
): GuardStep {
  const waitMs = mode === "strict" ? within(0, PROBE_WAIT_MS, context.randomUint32) : 0;
  const dueAt = after(context.now, waitMs);
  const duty: Probing = { kind: "probing", cause, mode, sent: 0, dueAt };
  const begun = { ...state, duty };
  return mode === "strict" ? goTo(begun) : onProbing(begun, duty, context);
}

function onWake(state: Guarded, context: GuardContext): GuardStep {
  const { now } = context;
  const { duty, recheckAt } = state;
  if (recheckAt !== undefined && recheckAt <= now) return recheck(state, context);
  const isMissed = duty.kind !== "watching" && after(duty.dueAt, LATE_MS) < now;
  if (isMissed) return recheck(state, context);
  return andThen(onDuty(state, context), (current) => {
    const { inquiry } = current;
    if (inquiry.kind === "none" || inquiry.dueAt > now) return goTo(current);
    return request(current, context);
  });
}

function onDuty(state: Guarded, context: GuardContext): GuardStep {
  const { duty } = state;
  if (duty.kind === "watching" || duty.dueAt > context.now) return goTo(state);
  switch (duty.kind) {
    case "probing":
      return onProbing(state, duty, context);
    case "announcing":
      return announce(state, duty.sent, context);
    default:
      return assertNever(duty);
  }
}

/** The next probe, or the end of probing. */
function onProbing(state: Guarded, duty: Probing, context: GuardContext): GuardStep {
  const { now } = context;
  if (duty.sent >= PROBE_NUM) return onClaimed(state, duty, context);
  const sent = duty.sent + 1;
  const waitMs = sent === PROBE_NUM ? ANNOUNCE_WAIT_MS : probeIntervalMs(duty.mode, context);
  const message: ArpMessage = { kind: "probe", target: state.address };
  return goTo({ ...state, duty: { ...duty, sent, dueAt: after(now, waitMs) } }, [send(message)]);
}

function probeIntervalMs(mode: ConflictMode, { randomUint32 }: GuardContext): number {
  if (mode === "optimistic") return OPTIMISTIC_PROBE_MS;
  return within(PROBE_MIN_MS, PROBE_MAX_MS, randomUint32);
}

function onClaimed(state: Guarded, { mode }: Probing, context: GuardContext): GuardStep {
  const claimed: GuardEffect = { kind: "claimed" };
  if (mode === "strict") {
    const dueAt = after(context.now, STRICT_ANNOUNCE_DELAY_MS);
    return goTo({ ...state, duty: { kind: "announcing", sent: 0, dueAt } }, [claimed]);
  }
  const announced = announce(state, 0, context);
  return { state: announced.state, effects: [claimed, ...announced.effects] };
}

/** RFC 5227 §2.3. With the first announcement the gateway is asked who it is. */
function announce(state: Guarded, sentBefore: number, context: GuardContext): GuardStep {
  const sent = sentBefore + 1;
  const dueAt = after(context.now, ANNOUNCE_INTERVAL_MS);
  const isLast = sent >= ANNOUNCE_NUM;
  const duty: Duty = isLast ? { kind: "watching" } : { kind: "announcing", sent, dueAt };
  const announced = goTo({ ...state, duty }, [sendAnnouncement(state)]);
  const isUnknown = state.gatewayMac === undefined && state.inquiry.kind === "none";
  return isUnknown ? andThen(announced, (current) => learn(current, context)) : announced;
}

function learn(state: Guarded, context: GuardContext): GuardStep {
  if (state.gateway === undefined) return goTo({ ...state, inquiry: NO_INQUIRY });
  return request({ ...state, inquiry: { kind: "learning", sent: 0, dueAt: context.now } }, context);
}

/** The next request for the gateway, or the end of waiting for its answer. */
function request(state: Guarded, context: GuardContext): GuardStep {
  const { address, gateway, inquiry } = state;
  if (inquiry.kind === "none" || gateway === undefined) return goTo(state);
  const intervals = inquiry.kind === "asking" ? ASK_INTERVALS_MS : LEARN_INTERVALS_MS;
  const waitMs = intervals[inquiry.sent];
  if (waitMs === undefined) {
    // The lease is still ours, so a server has confirmed it: perhaps by another gateway.
    return inquiry.kind === "asking"
      ? learn(state, context)
      : goTo({ ...state, gatewayMac: undefined, inquiry: NO_INQUIRY });
  }
  const gatewayMac = inquiry.kind === "asking" ? inquiry.mac : undefined;
  const sent = inquiry.sent + 1;
  const next: Inquiry = { ...inquiry, sent, dueAt: after(context.now, waitMs) };
  const message: ArpMessage = { kind: "request", sender: address, gateway, gatewayMac };
  return goTo({ ...state, inquiry: next }, [send(message)]);
}

function onPacket(state: Guarded, packet: ArpPacket, context: GuardContext): GuardStep {
  const { sender, target, senderMac, operation } = packet;
  if (context.ownMacs.has(senderMac)) return goTo(state);
  if (sender === state.address) return onConflict(state, senderMac, context);
  const isProbe = sender === 0 && operation === "request" && target === state.address;
  const { duty } = state;
  // Two that probe for one address must both leave it. Once it is ours, the kernel answers.
  if (isProbe && duty.kind === "probing" && duty.cause === "claim") {
    return giveUp(state, senderMac);
  }
  if (sender === state.gateway && operation === "reply") return onAnswer(state, senderMac);
  return goTo(state);
}

/** RFC 5227 §2.1.1 while probing; §2.4 (b) afterwards. */
function onConflict(state: Guarded, mac: MacAddress, { now }: GuardContext): GuardStep {
  const { address, duty, contestedAt } = state;
  const isRepeated = contestedAt !== undefined && now < after(contestedAt, DEFEND_INTERVAL_MS);
  if (duty.kind === "probing" || isRepeated) return giveUp(state, mac);
  const conflict: GuardEffect = { kind: "conflict", address, mac, isDefended: true };
  return goTo({ ...state, contestedAt: now }, [conflict, sendAnnouncement(state)]);
}

function giveUp({ address }: Guarded, mac: MacAddress): GuardStep {
  return goTo(UNGUARDED, [{ kind: "conflict", address, mac, isDefended: false }]);
}

function onAnswer(state: Guarded, mac: MacAddress): GuardStep {
  const { inquiry } = state;
  if (inquiry.kind === "none" || inquiry.sent === 0) return goTo(state);
  if (inquiry.kind === "asking") {
    // Another MAC has the gateway's address: perhaps another network, perhaps an impostor.
    if (mac !== inquiry.mac) return goTo(state);
    return goTo({ ...state, inquiry: NO_INQUIRY }, [{ kind: "same-network" }]);
  }
  // A group address, as some clusters answer with, cannot be asked by unicast.
  if (isGroup(mac)) return goTo(state);
  return goTo({ ...state, gatewayMac: mac, inquiry: NO_INQUIRY });
}

/** Whether more than one station listens to it: the lowest bit of the first byte. */
function isGroup(mac: MacAddress): boolean {
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
}

function send(message: ArpMessage): GuardEffect {
  return { kind: "send", message };
}

function sendAnnouncement({ address }: Guarded): GuardEffect {
  return send({ kind: "announcement", address });
}

/** A random duration in milliseconds. */
function within(leastMs: number, mostMs: number, randomUint32: () => number): number {
  return leastMs + Math.round(((mostMs - leastMs) * randomUint32()) / 0xffff_ffff);
}

function earliest(a: Instant | undefined, b: Instant | undefined): Instant | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a < b ? a : b;
}

/** One move after another, unless the first has given the address up. */
function andThen(first: GuardStep, next: (state: Guarded) => GuardStep): GuardStep {
  if (first.state.kind === "unguarded") return first;
  const second = next(first.state);
  return { state: second.state, effects: [...first.effects, ...second.effects] };
}

/** `goTo(state)` alone changes nothing. */
function goTo(state: GuardState, effects: readonly GuardEffect[] = []): GuardStep {
  return { state, effects };
}
