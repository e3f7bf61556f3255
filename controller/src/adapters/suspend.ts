// Notices that the host was suspended.
//
// Node's timers run by CLOCK_MONOTONIC, which stands still meanwhile; leases run by CLOCK_BOOTTIME,
// which does not. So after a resume every timer is late by as long as the host slept, and somebody
// has to say so. logind's PrepareForSleep would need D-Bus, and a look every second would wake an
// idle machine.
import type { Result } from "@mnm/proto/net";
import type { SystemFault } from "./sys.js";

export interface SuspendDependencies {
  /** How long the host has been suspended since it booted. */
  readonly suspendedMs: () => number;
  /** Calls back after a resume, and may do so at other times. */
  readonly watch: (onChange: () => void) => Result<{ close(): void }, SystemFault>;
}

export interface SuspendListener {
  readonly onResumed: (sleptMs: number) => void;
  /** Resumes will be noticed late, up to {@link LOOK_MS}. */
  readonly onUnwatched: (fault: SystemFault) => void;
}

/** The clocks are read one after the other, and nobody minds a shorter sleep. */
const SHORTEST_SLEEP_MS = 1_000;

/** How often the clocks are compared where the kernel does not say when. */
const LOOK_MS = 60_000;

export class SuspendMonitor {
  readonly #dependencies: SuspendDependencies;
  readonly #listener: SuspendListener;
  readonly #close: () => void;
  #suspendedMs: number;

  constructor(dependencies: SuspendDependencies, listener: SuspendListener) {
    this.#dependencies = dependencies;
    this.#listener = listener;
    this.#suspendedMs = dependencies.suspendedMs();
    const watch = dependencies.watch(() => this.#compare());
    if (watch.ok) {
      this.#close = () => watch.value.close();
      return;
    }
    const timer = setInterval(() => this.#compare(), LOOK_MS);
    this.#close = () => clearInterval(timer);
    listener.onUnwatched(watch.error);
  }

  close(): void {
    this.#close();
  }

  /** A wall clock that was set moves neither of the two clocks, and so means nothing here. */
  #compare(): void {
    const suspendedMs = this.#dependencies.suspendedMs();
    const sleptMs = suspendedMs - this.#suspendedMs;
    if (sleptMs < SHORTEST_SLEEP_MS) return;
    this.#suspendedMs = suspendedMs;
    this.#listener.onResumed(sleptMs);
  }
}
