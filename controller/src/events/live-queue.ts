/** Bounds of what may wait for one subscriber. */
export interface QueueLimits {
  readonly items: number;
  readonly bytes: number;
}

/**
 * What waits for one subscriber. Bounded: a subscriber that does not read overflows its own queue
 * and nobody else's, and from then on gets nothing more.
 */
export class LiveQueue<T> {
  readonly #limits: QueueLimits;
  readonly #items: { readonly item: T; readonly bytes: number }[] = [];
  #bytes = 0;
  #overflowed = false;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  get overflowed(): boolean {
    return this.#overflowed;
  }

  push(item: T, bytes: number): void {
    const { items, bytes: maxBytes } = this.#limits;
    if (this.#items.length >= items || this.#bytes + bytes > maxBytes) this.#overflowed = true;
    if (this.#overflowed) return;
    this.#items.push({ item, bytes });
    this.#bytes += bytes;
  }

  shift(): T | undefined {
    const next = this.#items.shift();
    if (next === undefined) return undefined;
    this.#bytes -= next.bytes;
    return next.item;
  }
}
