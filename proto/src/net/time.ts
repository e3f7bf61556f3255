import type { Branded } from "./ipv4.js";

/**
 * Milliseconds on the boot clock, which goes on in suspend (CLOCK_BOOTTIME). Not a date: never
 * compare it with wall time, and never store it across a reboot without the boot id.
 */
export type Instant = Branded<number, "Instant">;

/** Wraps milliseconds read off the boot clock. */
export function instantFromMs(ms: number): Instant {
  return ms as Instant;
}

/** `instant` moved by `durationMs`; durations are plain numbers named `...Ms`. */
export function after(instant: Instant, durationMs: number): Instant {
  return (instant + durationMs) as Instant;
}
