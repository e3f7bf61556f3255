// What the service manager is told, sd_notify(3): that we are ready, how we are, and that we live.
//
// A program that only says at regular intervals that it lives says little: a timer goes on when all
// else has stopped. So each time something has to work first, or nothing is said, and systemd ends
// the program and starts it again (WatchdogSec= in the unit).

export interface ServiceManagerDependencies {
  /** Sends to the service manager; sd_notify(3). */
  readonly tell: (message: string) => void;
  /** One line for `systemctl status`. */
  readonly describe: () => string;
  /** Sets to work what has to work. Its outcome is looked at when the event loop has turned. */
  readonly exercise: () => void;
  /** What does not work, in a sentence without full stop; undefined when all is well. */
  readonly ailment: () => string | undefined;
  /** Told when a self-check fails that did not before. */
  readonly onAilment: (ailment: string) => void;
}

export interface ServiceManagerOptions {
  /** What systemd has put into the environment: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
}

/** The line for people follows what happens by this much: a burst of events changes it once. */
const DESCRIBE_AFTER_MS = 1_000;

/** Without a service manager it does nothing, and wakes nobody. */
export class ServiceManager {
  readonly #dependencies: ServiceManagerDependencies;
  readonly #isWatched: boolean;
  readonly #feedEveryMs: number | undefined;
  #feeding: NodeJS.Timeout | undefined;
  #describing: NodeJS.Timeout | undefined;
  #description = "";
  #ailment: string | undefined;
  #isReady = false;

  constructor(
    dependencies: ServiceManagerDependencies,
    { environment, pid }: ServiceManagerOptions,
  ) {
    this.#dependencies = dependencies;
    const { NOTIFY_SOCKET: socket } = environment;
    this.#isWatched = socket !== undefined && socket !== "";
    this.#feedEveryMs = this.#isWatched ? feedingIntervalMs(environment, pid) : undefined;
  }

  /** The service works: what waits for it may go on. */
  ready(): void {
    if (!this.#isWatched) return;
    this.#isReady = true;
    this.#description = this.#dependencies.describe();
    this.#dependencies.tell(`READY=1\nSTATUS=${this.#description}`);
    if (this.#feedEveryMs !== undefined) {
      this.#feeding = setInterval(() => this.#feed(), this.#feedEveryMs);
    }
  }

  /** Something happened that the line for people may have to say. */
  changed(): void {
    if (!this.#isReady) return;
    this.#describing ??= setTimeout(() => {
      this.#describing = undefined;
      const status = this.#newStatus();
      if (status !== undefined) this.#dependencies.tell(status);
    }, DESCRIBE_AFTER_MS);
  }

  /** The service ends, and that may take a while; nothing is said after this. */
  stopping(): void {
    if (!this.#isWatched) return;
    this.#isReady = false;
    clearInterval(this.#feeding);
    clearTimeout(this.#describing);
    this.#dependencies.tell("STOPPING=1\nSTATUS=Stopping");
  }

  #feed(): void {
    this.#dependencies.exercise();
    // After what has been set to work, and after Node has looked at its descriptors.
    setImmediate(() => {
      if (!this.#isReady) return;
      const ailment = this.#dependencies.ailment();
      if (ailment !== undefined && this.#ailment === undefined) {
        this.#dependencies.onAilment(ailment);
      }
      this.#ailment = ailment;
      if (ailment !== undefined) return;
      const status = this.#newStatus();
      this.#dependencies.tell(status === undefined ? "WATCHDOG=1" : `WATCHDOG=1\n${status}`);
    });
  }

  /** Undefined when there is nothing new to say. */
  #newStatus(): string | undefined {
    const description = this.#dependencies.describe();
    if (description === this.#description) return undefined;
    this.#description = description;
    return `STATUS=${description}`;
  }
}

/**
 * Half of what systemd grants, as sd_watchdog_enabled(3) recommends; undefined when it does not
 * watch, or watches another process and we only inherited its environment.
 */
function feedingIntervalMs(
  { WATCHDOG_USEC: usec = "", WATCHDOG_PID: watched }: ServiceManagerOptions["environment"],
  pid: number,
): number | undefined {
  const isMeant = watched === undefined || watched === String(pid);
  if (!isMeant || !/^[1-9]\d{0,14}$/.test(usec)) return undefined;
  return Math.max(1, Math.floor(Number(usec) / 2000));
}
