import type { Instant } from "@mnm/proto/net";
import type { JournalEntry, NetworkEvent } from "./network-event.js";

/** The last events, numbered from 1 without gaps. */
export class Journal {
  readonly #capacity: number;
  /** A ring: the entry of sequence s is at s modulo the capacity. */
  readonly #entries: JournalEntry[] = [];
  #last = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** The sequence of the newest event; 0 while there is none. */
  get last(): number {
    return this.#last;
  }

  /** The sequence of the oldest event still kept; one more than the newest while there is none. */
  get oldest(): number {
    return Math.max(1, this.#last - this.#capacity + 1);
  }

  append(
    event: NetworkEvent,
    time: { readonly wallMs: number; readonly at: Instant },
  ): JournalEntry {
    this.#last += 1;
    const entry = { sequence: this.#last, ...time, event };
    this.#entries[this.#last % this.#capacity] = entry;
    return entry;
  }

  /** Whether the stream can go on right after `sequence` without a gap. */
  canResumeAfter(sequence: number): boolean {
    return sequence >= this.oldest - 1 && sequence <= this.#last;
  }

  /** The event of that sequence; undefined when it is not kept, or has not happened. */
  at(sequence: number): JournalEntry | undefined {
    const isKept = sequence >= this.oldest && sequence <= this.#last;
    return isKept ? this.#entries[sequence % this.#capacity] : undefined;
  }
}
