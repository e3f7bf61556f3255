import { type MonotonicMs, TokenBucket } from "./token-bucket.js";

/** Links that are remembered; more only come about by links that come and go. */
const MOST_LINKS = 1024;

/** The same limits for every link, by ifindex. */
export class LinkLimit {
  readonly #make: () => TokenBucket;
  readonly #buckets = new Map<number, TokenBucket>();

  constructor(now: MonotonicMs, limits: { readonly perSecond: number; readonly burst: number }) {
    this.#make = () => new TokenBucket(now, limits);
  }

  take(ifindex: number): boolean {
    const bucket = this.#buckets.get(ifindex) ?? this.#make();
    const [oldest] = this.#buckets.keys();
    const isFull = this.#buckets.size >= MOST_LINKS && !this.#buckets.has(ifindex);
    if (oldest !== undefined && isFull) this.#buckets.delete(oldest);
    this.#buckets.set(ifindex, bucket);
    return bucket.take();
  }
}
