import {
  after,
  type Instant,
  type Ipv4,
  instantFromMs,
  type LinkName,
  type MacAddress,
} from "@mnm/proto/net";

/** A source of unpredictable uint32 numbers. */
export type RandomUint32 = () => number;

/**
 * How long to wait for an answer to the `sent`-th transmission of a message: 4, 8, 16, 32, 64,
 * 64, … seconds, each moved by up to a second either way. RFC 2131 §4.1.
 */
export function retransmitMs(sent: number, randomUint32: RandomUint32): number {
  return 2000 * 2 ** Math.min(Math.max(sent, 1), 5) + fraction(randomUint32) * 2000 - 1000;
}

/**
 * Setbacks of one kind that came in a row: refusals by servers, or addresses that we declined.
 *
 * Each one waits longer than the one before. What ends a row is time alone, not a lease in
 * between: a server that acknowledges and then refuses, over and over, must not reset it.
 */
export interface Streak {
  readonly length: number;
  readonly lastAt: Instant;
  /** The wait that followed the last one. */
  readonly delayMs: number;
}

/** Who has an address that we were given: another link of this host, or another host. */
export type Holder =
  | { readonly kind: "link"; readonly name: LinkName }
  | { readonly kind: "host"; readonly mac: MacAddress };

/** A server refused what we asked for. */
export interface Nak {
  readonly kind: "nak";
  readonly server: Ipv4;
  readonly address: Ipv4;
}

/** We refused what a server gave: somebody has the address, or the terms cannot be used. */
export type Decline =
  | { readonly kind: "taken"; readonly address: Ipv4; readonly holder: Holder }
  | { readonly kind: "unusable"; readonly address: Ipv4; readonly server: Ipv4 };

export type Setback = Nak | Decline;

export interface Setbacks {
  readonly naks: Streak;
  readonly declines: Streak;
  /** The end of one of the two rows. */
  readonly last: Setback | undefined;
}

/** Of a step's context, what a wait depends on. */
interface Moment {
  readonly now: Instant;
  readonly randomUint32: RandomUint32;
}

/** What comes of a setback. */
export interface Wait {
  readonly setbacks: Setbacks;
  readonly delayMs: number;
}

const NO_STREAK: Streak = { length: 0, lastAt: instantFromMs(0), delayMs: 0 };

export const NO_SETBACKS: Setbacks = { naks: NO_STREAK, declines: NO_STREAK, last: undefined };

/** A row is over when the next setback comes later than twice its wait and this. */
const FORGIVE_MS = 60_000;

/**
 * With a sign that the network is another one, no wait is longer. Since the waits of the first
 * minute are all shorter, a link that gives such signs all the time sends no more than the others.
 */
const SHORTENED_MS = 32_000;

/**
 * The setbacks after another NAK: at once, then 4, 8, 16, … seconds, at most 30 minutes.
 *
 * The first costs nothing, since it usually means that the host has moved and a new lease is one
 * exchange away. From then on, a round being two packets, no minute sees more than ten.
 */
export function withNak(setbacks: Setbacks, last: Nak, { now, randomUint32 }: Moment): Wait {
  const length = lengthAfter(setbacks.naks, now);
  const baseMs = length === 1 ? 0 : 4000 * 2 ** Math.min(length - 2, 20);
  const delayMs = spread(Math.min(baseMs, 1_800_000), randomUint32);
  return { setbacks: { ...setbacks, naks: { length, lastAt: now, delayMs }, last }, delayMs };
}

/** The setbacks after another DECLINE: 10, 20, 40, … seconds, at most 10 minutes. RFC 2131 §3.1(5). */
export function withDecline(
  setbacks: Setbacks,
  last: Decline,
  { now, randomUint32 }: Moment,
): Wait {
  const length = lengthAfter(setbacks.declines, now);
  const baseMs = Math.min(10_000 * 2 ** Math.min(length - 1, 20), 600_000);
  const delayMs = spread(baseMs, randomUint32);
  return { setbacks: { ...setbacks, declines: { length, lastAt: now, delayMs }, last }, delayMs };
}

/**
 * Until when to wait where there is a sign that the network may be another one: carrier came back,
 * the host has resumed, or who had the address has left it.
 */
export function shortenedWait({ naks, declines, last }: Setbacks): Instant {
  const { lastAt, delayMs } = last?.kind === "nak" ? naks : declines;
  return after(lastAt, Math.min(delayMs, SHORTENED_MS));
}

function lengthAfter(streak: Streak, now: Instant): number {
  const isOver = now > after(streak.lastAt, 2 * streak.delayMs + FORGIVE_MS);
  return isOver ? 1 : streak.length + 1;
}

/** Up to a tenth longer, so that hosts that were refused together do not return together. */
function spread(baseMs: number, randomUint32: RandomUint32): number {
  return Math.round(baseMs * (1 + fraction(randomUint32) / 10));
}

function fraction(randomUint32: RandomUint32): number {
  return randomUint32() / 0xffff_ffff;
}
