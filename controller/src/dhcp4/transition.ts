/** The ways into the states of the DHCP machine (client.ts), each with the message that it sends. */
import { after, type Instant, type Ipv4 } from "@mnm/proto/net";
import { type Decline, type Setbacks, shortenedWait, withDecline } from "./backoff.js";
import {
  exchangeOf,
  extensionOf,
  sendDecline,
  sendDiscover,
  sendExtend,
  sendReboot,
  sendRelease,
} from "./exchange.js";
import { isExpired, isPastT2, type Lease } from "./lease.js";
import type { LeaseRemark } from "./options.js";
import type { Claim, DhcpEffect, DhcpState, Step, StepContext } from "./state.js";

/** A step, but for what it says about leases. */
export interface Transition extends Step {
  /** About the lease that this step brings. */
  readonly remarks: readonly LeaseRemark[];
}

export function discover(
  wanted: Ipv4 | undefined,
  setbacks: Setbacks,
  context: StepContext,
): Transition {
  const exchange = exchangeOf(context.randomUint32(), context);
  const effects = [sendDiscover(exchange, wanted, context)];
  return goTo({ kind: "selecting", exchange, wanted, setbacks }, effects);
}

/** DISCOVER, but not before what is left of a wait, though no long one. */
export function discoverSoon(
  wanted: Ipv4 | undefined,
  setbacks: Setbacks,
  context: StepContext,
): Transition {
  const retryAt = shortenedWait(setbacks);
  if (context.now < retryAt) return goTo({ kind: "init", retryAt, setbacks });
  return discover(wanted, setbacks, context);
}

export function reboot(claim: Claim, setbacks: Setbacks, context: StepContext): Transition {
  const exchange = exchangeOf(context.randomUint32(), context);
  const effects = [sendReboot(exchange, claim.lease, context)];
  return goTo({ kind: "rebooting", exchange, claim, setbacks }, effects);
}

/** Where a lease in force stands by its timers: bound, or asking for more. */
export function follow(
  lease: Lease,
  beganAt: Instant,
  setbacks: Setbacks,
  context: StepContext,
): Transition {
  const { timers } = lease;
  const isEarly = timers.kind === "infinite" || context.now < timers.t1;
  return isEarly
    ? goTo({ kind: "bound", lease, setbacks })
    : extend(lease, beganAt, setbacks, context);
}

/** Asks for more time. */
export function extend(
  lease: Lease,
  beganAt: Instant,
  setbacks: Setbacks,
  context: StepContext,
): Transition {
  const kind = isPastT2(lease, context.now) ? "rebinding" : "renewing";
  const exchange = extensionOf(lease, beganAt, context);
  const effects = [sendExtend(exchange, lease, kind, context)];
  return goTo({ kind, exchange, lease, setbacks }, effects);
}

export function decline(
  what: Decline,
  serverId: Ipv4,
  current: Setbacks,
  context: StepContext,
): Transition {
  const { setbacks, delayMs } = withDecline(current, what, context);
  const state: DhcpState = { kind: "init", retryAt: after(context.now, delayMs), setbacks };
  return goTo(state, [sendDecline(what.address, serverId, context)]);
}

export function release(lease: Lease | undefined, context: StepContext): readonly DhcpEffect[] {
  if (lease === undefined || isExpired(lease, context.now)) return [];
  return [sendRelease(lease, context)];
}

/** `goTo(state)` alone changes nothing. */
export function goTo(
  state: DhcpState,
  effects: readonly DhcpEffect[] = [],
  remarks: readonly LeaseRemark[] = [],
): Transition {
  return { state, effects, remarks };
}
