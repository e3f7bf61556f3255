import { after, type Instant, instantFromMs } from "@mnm/proto/net";

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

export interface Setbacks {
  readonly naks: Streak;
  readonly declines: Streak;
}

const NO_STREAK: Streak = { length: 0, lastAt: instantFromMs(0), delayMs: 0 };

export const NO_SETBACKS: Setbacks = { naks: NO_STREAK, declines: NO_STREAK };

/** A row is over when the next setback comes later than twice its wait and this. */
const FORGIVE_MS = 60_000;

/**
 * The setbacks after another NAK: at once, then 4, 8, 16, … seconds, at most 30 minutes.
 *
 * The first costs nothing, since it usually means that the host has moved and a new lease is one
 * exchange away. From then on, a round being two packets, no minute sees more than ten.
 */
export function withNak(
  setbacks: Setbacks,
  now: Instant,
  randomUint32: RandomUint32,
): { readonly setbacks: Setbacks; readonly delayMs: number } {
  const length = lengthAfter(setbacks.naks, now);
  const baseMs = length === 1 ? 0 : 4000 * 2 ** Math.min(length - 2, 20);
  const delayMs = spread(Math.min(baseMs, 1_800_000), randomUint32);
  return { setbacks: { ...setbacks, naks: { length, lastAt: now, delayMs } }, delayMs };
}

/** The setbacks after another DECLINE: 10, 20, 40, … seconds, at most 10 minutes. RFC 2131 §3.1(5). */
export function withDecline(
  setbacks: Setbacks,
  now: Instant,
  randomUint32: RandomUint32,
): { readonly setbacks: Setbacks; readonly delayMs: number } {
  const length = lengthAfter(setbacks.declines, now);
  const baseMs = Math.min(10_000 * 2 ** Math.min(length - 1, 20), 600_000);
  const delayMs = spread(baseMs, randomUint32);
  return { setbacks: { ...setbacks, declines: { length, lastAt: now, delayMs } }, delayMs };
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
