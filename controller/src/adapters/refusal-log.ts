import type { Excess } from "./admission.js";

export interface RefusalLogDependencies {
  readonly nowMs: () => number;
  readonly log: { readonly warn: (fields: object, message: string) => void };
}

const WINDOW_MS = 60_000;
/** One person may have thousands of uids. */
const MOST_LINES = 8;

/** Says who was refused: one line for each user and minute, so that a flood does not reach the log. */
export class RefusalLog {
  readonly #dependencies: RefusalLogDependencies;
  readonly #named = new Set<number>();
  #untilMs = 0;

  constructor(dependencies: RefusalLogDependencies) {
    this.#dependencies = dependencies;
  }

  note(uid: number, tooMuchOf: Excess["of"] | "bytes"): void {
    const { nowMs, log } = this.#dependencies;
    const now = nowMs();
    if (now >= this.#untilMs) {
      this.#named.clear();
      this.#untilMs = now + WINDOW_MS;
    }
    if (this.#named.has(uid) || this.#named.size >= MOST_LINES) return;
    this.#named.add(uid);
    log.warn({ uid, tooMuchOf }, "a user asks too much of the API and is refused");
  }
}
