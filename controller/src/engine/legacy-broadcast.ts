import { after, type Ifindex, type Instant } from "@mnm/proto/net";
import type { LegacyEvent } from "./messages.js";
import type { Outbox } from "./outbox.js";

/** As MULTI does: subscribers cannot ask, so that one who comes late hears it all the same. */
const REPEAT_MS = 30_000;

/**
 * What MULTI's subscribers are told: a link is up when its uplink is usable, again every 30 s in
 * which nothing was said, and down when it no longer is.
 */
export class LegacyBroadcast {
  readonly #up = new Set<Ifindex>();
  #news: readonly LegacyEvent[] = [];
  /** Undefined while nobody is to be told. */
  #repeatAt: Instant | undefined;
  #hasFailed = false;

  note(event: LegacyEvent): void {
    if (event.isUp) this.#up.add(event.ifindex);
    else this.#up.delete(event.ifindex);
    this.#news = [...this.#news, event];
  }

  /** Tells what was noted, and repeats what is due. */
  send(isWanted: boolean, outbox: Outbox): void {
    const news = this.#news;
    this.#news = [];
    if (!isWanted) {
      this.#repeatAt = undefined;
      return;
    }
    const isDue = this.#repeatAt === undefined || this.#repeatAt <= outbox.now;
    const events = isDue ? [...news.filter(({ isUp }) => !isUp), ...this.#repeated()] : news;
    if (isDue || events.length > 0) this.#repeatAt = after(outbox.now, REPEAT_MS);
    if (events.length > 0) outbox.push({ kind: "broadcast-legacy", events });
  }

  #repeated(): readonly LegacyEvent[] {
    return [...this.#up].map((ifindex) => ({ ifindex, isUp: true }));
  }

  /** The helper did not do it. A warning the first time only, for it is tried again and again. */
  failed(text: string, outbox: Outbox): void {
    outbox.log(this.#hasFailed ? "debug" : "warn", "MULTI's subscribers were not told", { text });
    this.#hasFailed = true;
  }

  deadline(): Instant | undefined {
    return this.#up.size === 0 ? undefined : this.#repeatAt;
  }
}
