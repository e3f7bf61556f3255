/**
 * DHCPv4 client: the states of RFC 2131 figure 5.
 *
 * Sans-IO: `step` maps a state and an event to the next state and the effects for the caller to
 * carry out, in order. After every step, arm one timer for `deadline(state)` and deliver `wake`
 * when it fires.
 *
 * What is announced about leases is derived from the states before and after a step and from
 * nothing else, so that no path through the machine can forget it.
 */
import { after, assertNever, isHostUnicast } from "@mnm/proto/net";
import { type Holder, withNak } from "./backoff.js";
import { decodeReply, type Reply } from "./codec.js";
import {
  elapsedSec,
  exchangeOf,
  resent,
  sendDiscover,
  sendReboot,
  sendRequest,
} from "./exchange.js";
import { isExpired, type Lease, leaseOfTerms } from "./lease.js";
import { leaseNews } from "./lease-news.js";
import { Option } from "./options.js";
import {
  type Asking,
  askedAddress,
  askedServer,
  type Claim,
  type DhcpEvent,
  type DhcpState,
  type IgnoreReason,
  isDue,
  leaseOf,
  type NetworkEvidence,
  type Offer,
  type RememberedLease,
  requestedAddress,
  STOPPED,
  type State,
  type Step,
  type StepContext,
  withEvidence,
} from "./state.js";
import { checkTerms } from "./terms.js";
import {
  decline,
  discover,
  discoverSoon,
  extend,
  follow,
  goTo,
  reboot,
  release,
  type Transition,
} from "./transition.js";

/** Gives up after 4 + 8 + 16 + 32 = 60 seconds, the example in RFC 2131 §3.1(5). */
const MAX_REQUESTS = 4;

/** A lease in force is asked about at 0, 4 and 12 seconds; the last answer may come at 28. */
const MAX_CHECKS = 3;

/** A carrier that flaps must not make a storm of requests. */
const CHECK_PACE_MS = 1000;

export function step(state: DhcpState, event: DhcpEvent, context: StepContext): Step {
  const held = leaseOf(state);
  const isOver = held !== undefined && isExpired(held, context.now);
  if (isOver && event.kind !== "wake" && event.kind !== "stop" && event.kind !== "release") {
    // After a suspend the wake may be late. What else comes must not find a lease that is over.
    const expired = step(state, { kind: "wake" }, context);
    const next = step(expired.state, event, context);
    return { state: next.state, effects: [...expired.effects, ...next.effects] };
  }
  const next = transition(state, event, context);
  const { remarks } = next;
  const news = leaseNews({ before: state, after: next.state, event, remarks }, context.now);
  // A RELEASE leaves from the address, so it must go out while we still have it.
  const isRelease = event.kind === "release";
  const effects = isRelease ? [...next.effects, ...news] : [...news, ...next.effects];
  return { state: next.state, effects };
}

function transition(state: DhcpState, event: DhcpEvent, context: StepContext): Transition {
  switch (event.kind) {
    case "start":
      return state.kind === "stopped" ? start(state, event.remembered, context) : goTo(state);
    case "stop":
      return goTo({ ...STOPPED, setbacks: state.setbacks });
    case "release":
      return goTo(STOPPED, release(leaseOf(state), context));
    case "renew":
      return onRenew(state, context);
    case "check":
      return onCheck(state, event.gatewayAsked ? "asked" : "unasked", context);
    case "same-network":
      return goTo(withEvidence(state, "same"));
    case "conflict":
      return onConflict(state, event.holder, context);
    case "wake":
      return isDue(state, context.now) ? onDeadline(state, context) : goTo(state);
    case "packet":
      return onPacket(state, event.payload, context);
    default:
      return assertNever(event);
  }
}

function start(
  { setbacks }: State<"stopped">,
  remembered: RememberedLease | undefined,
  context: StepContext,
): Transition {
  if (remembered === undefined) return discoverSoon(undefined, setbacks, context);
  const { kind, lease } = remembered;
  if (isExpired(lease, context.now)) return discoverSoon(lease.terms.address, setbacks, context);
  if (kind === "adopt") return follow(lease, context.now, setbacks, context);
  return reboot({ kind: "remembered", lease }, setbacks, context);
}

function onRenew(state: DhcpState, context: StepContext): Transition {
  switch (state.kind) {
    case "stopped":
      return goTo(state);
    case "init":
      return discover(undefined, state.setbacks, context);
    case "selecting":
      return discover(state.wanted, state.setbacks, context);
    case "requesting":
      return discover(state.offer.address, state.setbacks, context);
    case "init-reboot":
      return reboot(heldClaim(state.lease, state.evidence), state.setbacks, context);
    case "rebooting":
      return reboot(state.claim, state.setbacks, context);
    case "bound":
      return extend(state.lease, context.now, state.setbacks, context);
    case "renewing":
    case "rebinding":
      return extend(state.lease, state.exchange.beganAt, state.setbacks, context);
    default:
      return assertNever(state);
  }
}

function onCheck(state: DhcpState, evidence: NetworkEvidence, context: StepContext): Transition {
  switch (state.kind) {
    case "init":
      return discoverSoon(undefined, state.setbacks, context);
    case "stopped":
    case "requesting":
    case "init-reboot":
      return goTo(withEvidence(state, evidence));
    case "selecting": {
      if (context.now < after(state.exchange.sentAt, CHECK_PACE_MS)) return goTo(state);
      return discover(state.wanted, state.setbacks, context);
    }
    case "rebooting": {
      const renewed = withEvidence(state, evidence);
      if (context.now < after(state.exchange.sentAt, CHECK_PACE_MS)) return goTo(renewed);
      return reboot(renewed.claim, state.setbacks, context);
    }
    case "bound":
    case "renewing":
    case "rebinding": {
      const { lease, setbacks } = state;
      const askedAt = state.kind === "bound" ? lease.acquiredAt : state.exchange.sentAt;
      const sendAt = after(askedAt, CHECK_PACE_MS);
      const isTooSoon = context.now < sendAt;
      if (isTooSoon) return goTo({ kind: "init-reboot", sendAt, lease, evidence, setbacks });
      return reboot(heldClaim(lease, evidence), setbacks, context);
    }
    default:
      return assertNever(state);
  }
}

function heldClaim(lease: Lease, evidence: NetworkEvidence): Claim {
  return { kind: "held", lease, evidence };
}

function onConflict(state: DhcpState, holder: Holder, context: StepContext): Transition {
  const lease = leaseOf(state);
  if (lease === undefined) return goTo(state);
  const { address, serverId } = lease.terms;
  return decline({ kind: "taken", address, holder }, serverId, state.setbacks, context);
}

/**
 * | State | At its deadline | RFC 2131 |
 * |---|---|---|
 * | init | DISCOVER | §4.4.1 |
 * | selecting | DISCOVER again, after 4, 8, 16, 32, 64, 64, … s | §4.1 |
 * | requesting | REQUEST again, 4 times in all; then DISCOVER | §3.1(5) |
 * | init-reboot | REQUEST | §4.4.2 |
 * | rebooting | nobody knows an old lease: DISCOVER, asking for its address. A lease in force: REQUEST again, 3 times in all; then it lives on, as §3.2(3) allows, unless its gateway is silent too | §3.2 |
 * | bound, renewing, rebinding | REQUEST by unicast from T1, by broadcast from T2, again after half of the time that is left; DISCOVER at expiry | §4.4.5 |
 */
function onDeadline(state: DhcpState, context: StepContext): Transition {
  const lease = leaseOf(state);
  if (state.kind === "stopped") return goTo(state);
  if (lease !== undefined && isExpired(lease, context.now)) {
    return discover(lease.terms.address, state.setbacks, context);
  }
  switch (state.kind) {
    case "init":
      return discover(undefined, state.setbacks, context);
    case "selecting": {
      // An ACK to one of several DISCOVERs would not tell when its lease began.
      const { xid, requestedAt } = state.exchange;
      const own = { xid: context.randomUint32(), requestedAt: context.now };
      const chosen = context.config.rapidCommit ? own : { xid, requestedAt };
      const exchange = { ...resent(state.exchange, context), ...chosen };
      return goTo({ ...state, exchange }, [sendDiscover(exchange, state.wanted, context)]);
    }
    case "requesting": {
      const { offer, setbacks } = state;
      if (state.exchange.sent >= MAX_REQUESTS) return discover(offer.address, setbacks, context);
      const exchange = resent(state.exchange, context);
      return goTo({ ...state, exchange }, [sendRequest(exchange, offer, context)]);
    }
    case "init-reboot":
      return reboot(heldClaim(state.lease, state.evidence), state.setbacks, context);
    case "rebooting":
      return onUnconfirmed(state, context);
    case "bound":
      return follow(state.lease, context.now, state.setbacks, context);
    case "renewing":
    case "rebinding":
      return follow(state.lease, state.exchange.beganAt, state.setbacks, context);
    default:
      return assertNever(state);
  }
}

function onUnconfirmed(state: State<"rebooting">, context: StepContext): Transition {
  const { claim, setbacks } = state;
  const { lease } = claim;
  // One try is enough for an old lease: a DISCOVER asks for the same address, and unlike a
  // REQUEST it is answered by servers that have never heard of us.
  if (claim.kind === "remembered") return discover(lease.terms.address, setbacks, context);
  if (state.exchange.sent >= MAX_CHECKS) {
    // The gateway that we know would have answered: the network is another one, or dead.
    if (claim.evidence === "asked") return discover(lease.terms.address, setbacks, context);
    return follow(lease, context.now, setbacks, context);
  }
  const exchange = resent(state.exchange, context);
  return goTo({ ...state, exchange }, [sendReboot(exchange, lease, context)]);
}

/**
 * | State | OFFER | ACK | NAK |
 * |---|---|---|---|
 * | stopped, init, init-reboot, bound | no | no | no |
 * | selecting | request it | only by rapid commit | no |
 * | requesting | no | of the chosen server | of the chosen server |
 * | rebooting | no | of any | of any |
 * | renewing | no | of the leasing server | of the leasing server |
 * | rebinding | no | of any | of any |
 */
function onPacket(state: DhcpState, payload: Uint8Array, context: StepContext): Transition {
  const decoded = decodeReply(payload, context.config);
  if (!decoded.ok) return ignore(state, decoded.error);
  const reply = decoded.value;
  switch (state.kind) {
    case "stopped":
    case "init":
    case "init-reboot":
    case "bound":
      return ignore(state, "not-expected");
    case "selecting":
      if (reply.xid !== state.exchange.xid) return ignore(state, "wrong-xid");
      return onSelecting(state, reply, context);
    case "requesting":
    case "rebooting":
    case "renewing":
    case "rebinding":
      if (reply.xid !== state.exchange.xid) return ignore(state, "wrong-xid");
      return onAnswer(state, reply, context);
    default:
      return assertNever(state);
  }
}

function onSelecting(state: State<"selecting">, reply: Reply, context: StepContext): Transition {
  if (reply.type === "ack" && reply.options.has(Option.rapidCommit)) {
    if (!context.config.rapidCommit) return ignore(state, "rapid-commit-unasked");
    return onAck(state, reply, context);
  }
  if (reply.type !== "offer") return ignore(state, "not-expected");
  // An ACK with these terms would be refused, so do not even ask: another offer may be better.
  const checked = checkTerms(reply);
  if (!checked.ok) return ignore(state, checked.error);

  const { xid, beganAt, sentAt } = state.exchange;
  const { address, serverId } = checked.value.terms;
  const offer: Offer = { address, serverId, secs: elapsedSec(beganAt, sentAt) };
  const exchange = { ...exchangeOf(xid, context), beganAt };
  const effects = [sendRequest(exchange, offer, context)];
  return goTo({ kind: "requesting", exchange, offer, setbacks: state.setbacks }, effects);
}

function onAnswer(state: Asking, reply: Reply, context: StepContext): Transition {
  if (reply.type === "offer") return ignore(state, "not-expected");
  const server = askedServer(state);
  if (server !== undefined && reply.serverId !== server) return ignore(state, "wrong-server");
  if (reply.type === "ack") return onAck(state, reply, context);

  const nak = { kind: "nak", server: reply.serverId, address: askedAddress(state) } as const;
  const { setbacks, delayMs } = withNak(state.setbacks, nak, context);
  // The address is not asked for again: it is what was refused.
  if (delayMs === 0) return discover(undefined, setbacks, context);
  return goTo({ kind: "init", retryAt: after(context.now, delayMs), setbacks });
}

function onAck(state: Asking | State<"selecting">, reply: Reply, context: StepContext): Transition {
  const { exchange, setbacks } = state;
  const checked = checkTerms(reply);
  if (!checked.ok) {
    // With a lease in force, an ACK that we cannot use is no answer: what was granted before
    // stands until it expires.
    const requested = leaseOf(state) === undefined ? requestedAddress(state) : undefined;
    const ignored = ignore(state, checked.error);
    if (requested === undefined || checked.error === "lease-time-missing") return ignored;
    // The server has set an address aside for us: the one it names, if that can be one.
    const address = isHostUnicast(reply.address) ? reply.address : requested;
    const server = reply.serverId;
    const declined = decline({ kind: "unusable", address, server }, server, setbacks, context);
    return { ...declined, effects: [...ignored.effects, ...declined.effects] };
  }
  const lease = leaseOfTerms(checked.value.terms, exchange.requestedAt);
  // A short lease, and an answer that came late.
  if (isExpired(lease, context.now)) return ignore(state, "lease-already-over");
  return goTo({ kind: "bound", lease, setbacks }, [], checked.value.remarks);
}

function ignore(state: DhcpState, reason: IgnoreReason): Transition {
  return goTo(state, [{ kind: "reply-ignored", reason }]);
}
