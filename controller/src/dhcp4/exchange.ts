/** Questions to the servers: their times, and the messages that ask them. */
import { after, type Instant, type Ipv4 } from "@mnm/proto/net";
import { retransmitMs } from "./backoff.js";
import { type ClientMessage, encodeMessage, type Outgoing } from "./codec.js";
import { isPastT2, type Lease, MIN_LEASE_SEC } from "./lease.js";
import type { DhcpEffect, Exchange, Offer, SendTo, StepContext } from "./state.js";

/**
 * RFC 2131 §4.4.5 has 60 s between requests to extend a lease. A lease of two minutes, usual with
 * dnsmasq, would have no second try then.
 */
const MIN_RENEW_MS = MIN_LEASE_SEC * 1000;

/** How long an answer is waited for when an operator renews a lease that never ends. */
const INFINITE_RENEW_MS = 60_000;

const BROADCAST: SendTo = { kind: "broadcast" };

/** An exchange whose first message is sent now. */
export function exchangeOf(xid: number, context: StepContext): Exchange {
  const { now, randomUint32 } = context;
  const resendAt = after(now, retransmitMs(1, randomUint32));
  return { xid, beganAt: now, requestedAt: now, sent: 1, sentAt: now, resendAt };
}

/** The exchange after its message is sent once more, now. */
export function resent(exchange: Exchange, context: StepContext): Exchange {
  const { now, randomUint32 } = context;
  const sent = exchange.sent + 1;
  return { ...exchange, sent, sentAt: now, resendAt: after(now, retransmitMs(sent, randomUint32)) };
}

/**
 * The question for more time, sent now: in half of the time that is left the next. Each has an
 * xid of its own, since they are at least ten seconds apart, and an answer then tells exactly
 * from when its lease counts.
 */
export function extensionOf(lease: Lease, beganAt: Instant, context: StepContext): Exchange {
  const { now } = context;
  const { timers } = lease;
  let waitMs = INFINITE_RENEW_MS;
  if (timers.kind === "finite") {
    const endsAt = isPastT2(lease, now) ? timers.expiry : timers.t2;
    waitMs = Math.max((endsAt - now) / 2, MIN_RENEW_MS);
  }
  const opened = exchangeOf(context.randomUint32(), context);
  return { ...opened, beganAt, resendAt: after(now, waitMs) };
}

/** Whole seconds; 0 rather than negative, should a clock ever go back. */
export function elapsedSec(from: Instant, to: Instant): number {
  return Math.max(0, Math.floor((to - from) / 1000));
}

// RFC 2131 table 5, what each message names and where it goes:
//
// | Message | Sent when | ciaddr | Option 50 | Option 54 | To |
// |---|---|---|---|---|---|
// | DISCOVER | init | 0 | the address we had, if any | no | broadcast |
// | REQUEST | selecting | 0 | the offered address | the chosen server | broadcast |
// | REQUEST | init-reboot | 0 | the remembered address | no | broadcast |
// | REQUEST | renewing | our address | no | no | the leasing server |
// | REQUEST | rebinding | our address | no | no | broadcast |
// | DECLINE | | 0 | the declined address | the server | broadcast |
// | RELEASE | | our address | no | the server | the leasing server |

export function sendDiscover(
  exchange: Exchange,
  wanted: Ipv4 | undefined,
  context: StepContext,
): DhcpEffect {
  const outgoing = { ...asking("discover", exchange, context), requestedAddress: wanted };
  return send(outgoing, BROADCAST, context);
}

/** The REQUEST after an OFFER. */
export function sendRequest(exchange: Exchange, offer: Offer, context: StepContext): DhcpEffect {
  const { address, serverId, secs } = offer;
  const outgoing = { ...asking("request", exchange, context), requestedAddress: address, serverId };
  return send({ ...outgoing, secs }, BROADCAST, context);
}

/** The REQUEST that asks whether a lease still holds. */
export function sendReboot(exchange: Exchange, lease: Lease, context: StepContext): DhcpEffect {
  const requestedAddress = lease.terms.address;
  const outgoing = { ...asking("request", exchange, context), requestedAddress };
  return send(outgoing, BROADCAST, context);
}

/** The REQUEST for more time: of the leasing server, or of any. */
export function sendExtend(
  exchange: Exchange,
  { terms }: Lease,
  kind: "renewing" | "rebinding",
  context: StepContext,
): DhcpEffect {
  const { address, serverId } = terms;
  const outgoing = { ...asking("request", exchange, context), leasedAddress: address };
  return send(outgoing, kind === "renewing" ? unicast(serverId, address) : BROADCAST, context);
}

export function sendDecline(address: Ipv4, serverId: Ipv4, context: StepContext): DhcpEffect {
  const outgoing = { ...farewell("decline", context), requestedAddress: address, serverId };
  return send(outgoing, BROADCAST, context);
}

export function sendRelease({ terms }: Lease, context: StepContext): DhcpEffect {
  const { address, serverId } = terms;
  const outgoing = { ...farewell("release", context), leasedAddress: address, serverId };
  return send(outgoing, unicast(serverId, address), context);
}

const NAMES_NOTHING = {
  leasedAddress: undefined,
  requestedAddress: undefined,
  serverId: undefined,
} as const;

function asking(message: ClientMessage, exchange: Exchange, { now }: StepContext): Outgoing {
  const secs = elapsedSec(exchange.beganAt, now);
  return { message, xid: exchange.xid, secs, ...NAMES_NOTHING };
}

/** A message that nobody answers. */
function farewell(message: ClientMessage, { randomUint32 }: StepContext): Outgoing {
  return { message, xid: randomUint32(), secs: 0, ...NAMES_NOTHING };
}

function unicast(server: Ipv4, source: Ipv4): SendTo {
  return { kind: "unicast", server, source };
}

function send(outgoing: Outgoing, to: SendTo, { config }: StepContext): DhcpEffect {
  const payload = encodeMessage(config, outgoing);
  return { kind: "send", message: outgoing.message, to, payload };
}
