/** Milliseconds that never go back; where from is of no matter. */
export type MonotonicMs = () => number;

/** Allows `perSecond` in the long run, and `burst` at once. */
export class TokenBucket {
  readonly #now: MonotonicMs;
  readonly #limits: { readonly perSecond: number; readonly burst: number };
  #tokens: number;
  #at: number;

  constructor(now: MonotonicMs, limits: { readonly perSecond: number; readonly burst: number }) {
    this.#now = now;
    this.#limits = limits;
    this.#tokens = limits.burst;
    this.#at = now();
  }

  /** Takes `count` or nothing. */
  take(count = 1): boolean {
    const now = this.#now();
    const refill = ((now - this.#at) / 1000) * this.#limits.perSecond;
    this.#tokens = Math.min(this.#limits.burst, this.#tokens + refill);
    this.#at = now;
    if (this.#tokens < count) return false;
    this.#tokens -= count;
    return true;
  }
}
