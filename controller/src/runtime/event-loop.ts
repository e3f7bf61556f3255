import type { Instant } from "@mnm/proto/net";

/** A sans-IO machine: all of its behaviour, none of its surroundings. */
export interface Machine<Event, Effect> {
  /** Takes in one event. May not call back into the loop. */
  step(event: Event, now: Instant): readonly Effect[];
  /** Acts on what the events amount to. Called when none is waiting. */
  settle(now: Instant): readonly Effect[];
  /** When the machine next wants a `wake`, if ever. */
  deadline(): Instant | undefined;
}

export interface LoopDependencies<Event, Effect> {
  readonly now: () => Instant;
  /** Starts an effect. Its outcome, if any, comes back later as an event. */
  readonly perform: (effect: Effect) => void;
  readonly wake: Event;
}

/**
 * Longest sleep: from 2^31 ms on setTimeout fires at once.
 *
 * Node's timers stand still while the machine is suspended. An event then has to say that it has
 * resumed (adapters/suspend.ts), and the timer is armed afresh after it, as after every event.
 */
const MAX_DELAY_MS = 2 ** 31 - 1;

/**
 * Drives a machine in real time: the one place with a timer and a queue.
 *
 * Events are taken in strictly one at a time, and the effects of one are all started before the
 * next is looked at. The machine settles once for all events of one turn of Node's loop, so that
 * a burst of notifications costs one comparison.
 */
export class EventLoop<Event, Effect> {
  readonly #machine: Machine<Event, Effect>;
  readonly #dependencies: LoopDependencies<Event, Effect>;
  readonly #queue: Event[] = [];
  #timer: NodeJS.Timeout | undefined;
  #settling: NodeJS.Immediate | undefined;
  #draining = false;
  #stopped = false;

  constructor(machine: Machine<Event, Effect>, dependencies: LoopDependencies<Event, Effect>) {
    this.#machine = machine;
    this.#dependencies = dependencies;
  }

  post(event: Event): void {
    if (this.#stopped) return;
    this.#queue.push(event);
    this.#settling ??= setImmediate(() => this.#settle());
    if (!this.#draining) this.#drain();
  }

  /** For how many milliseconds something has been due that the machine has not acted on; 0 for none. */
  overdueMs(): number {
    const deadline = this.#machine.deadline();
    return deadline === undefined ? 0 : Math.max(this.#dependencies.now() - deadline, 0);
  }

  /** Nothing is taken in or started after this. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearImmediate(this.#settling);
  }

  #settle(): void {
    this.#settling = undefined;
    this.#draining = true;
    try {
      this.#perform(this.#machine.settle(this.#dependencies.now()));
    } finally {
      this.#draining = false;
    }
    this.#drain();
    this.#armTimer();
  }

  #drain(): void {
    this.#draining = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        this.#perform(this.#machine.step(next, this.#dependencies.now()));
      }
    } finally {
      this.#draining = false;
    }
  }

  #perform(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (this.#stopped) return;
      this.#dependencies.perform(effect);
    }
  }

  #armTimer(): void {
    clearTimeout(this.#timer);
    const deadline = this.#machine.deadline();
    if (deadline === undefined || this.#stopped) return;
    // A wake that comes early is harmless: the machine sees that nothing is due, and the timer is
    // armed for the rest.
    const delayMs = Math.min(Math.max(deadline - this.#dependencies.now(), 0), MAX_DELAY_MS);
    this.#timer = setTimeout(() => this.post(this.#dependencies.wake), Math.ceil(delayMs));
  }
}
