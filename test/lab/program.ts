import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { until } from "./run.js";

export interface Exit {
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

/** What the kernel lets a process do: /proc/PID/status, capabilities by name. */
export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly effective: readonly string[];
  readonly permitted: readonly string[];
  readonly inheritable: readonly string[];
  readonly bounding: readonly string[];
  readonly ambient: readonly string[];
  readonly noNewPrivileges: boolean;
}

// Only the names that this lab grants; any other bit is shown by its number.
const CAPABILITY_NAMES = new Map([
  [12, "net_admin"],
  [13, "net_raw"],
]);

/** A long-running program of a lab, its output in a file that outlives it. */
export class Program {
  readonly name: string;
  readonly command: readonly string[];
  readonly logFile: string;
  readonly pid: number;
  readonly #exited: Promise<Exit>;
  readonly #child: ChildProcess;
  #exit: Exit | undefined;

  constructor(options: {
    readonly name: string;
    readonly command: readonly [string, ...string[]];
    readonly logFile: string;
    readonly env?: NodeJS.ProcessEnv;
  }) {
    const [file, ...args] = options.command;
    const log = openSync(options.logFile, "a");
    // Detached: Ctrl-C on the terminal is for the test, which then ends the lab in order.
    this.#child = spawn(file, args, {
      stdio: ["ignore", log, log],
      detached: true,
      env: options.env ?? process.env,
    });
    closeSync(log);
    // A test that forgets to close its lab shall end all the same, and the lab with it.
    this.#child.unref();
    this.name = options.name;
    this.command = options.command;
    this.logFile = options.logFile;
    this.pid = this.#child.pid ?? 0;
    this.#exited = new Promise((resolve) => {
      const ended = (exit: Exit) => {
        this.#exit = exit;
        resolve(exit);
      };
      this.#child.once("error", () => ended({ code: 127, signal: undefined }));
      this.#child.once("exit", (code, signal) =>
        ended({ code: code ?? undefined, signal: signal ?? undefined }),
      );
    });
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  exited(): Promise<Exit> {
    if (this.running) this.#child.ref();
    return this.#exited;
  }

  log(): string {
    return readFileSync(this.logFile, "utf8");
  }

  /** Waits for a condition, or throws with the end of the log as soon as the program ends. */
  async ready<T>(
    probe: () => T | undefined | false | Promise<T | undefined | false>,
    what: string,
    timeoutMs = 10_000,
  ): Promise<T> {
    const live = async () => {
      const value = await probe();
      if (value !== undefined && value !== false) return value;
      if (this.#exit === undefined) return undefined;
      const how = this.#exit.signal ?? `status ${this.#exit.code}`;
      throw new Error(`${this.name} ended (${how}) before ${what}:\n${this.log().slice(-2000)}`);
    };
    try {
      return await until(live, { timeoutMs, what: `${this.name}: ${what}` });
    } catch (cause) {
      throw new Error(`${this.name} log ends:\n${this.log().slice(-2000)}`, { cause });
    }
  }

  waitForLog(pattern: RegExp, timeoutMs = 10_000): Promise<RegExpExecArray> {
    return this.ready(() => pattern.exec(this.log()) ?? undefined, `log ${pattern}`, timeoutMs);
  }

  /** Sends a signal; false when the program has already ended. */
  signal(signal: NodeJS.Signals): boolean {
    return this.running && this.#child.kill(signal);
  }

  /** Ends the program: the signal first, SIGKILL when it has not ended after `graceMs`. */
  async stop(signal: NodeJS.Signals = "SIGTERM", graceMs = 5000): Promise<Exit> {
    this.signal(signal);
    const timer = setTimeout(() => this.signal("SIGKILL"), graceMs);
    try {
      return await this.exited();
    } finally {
      clearTimeout(timer);
    }
  }

  credentials(): Credentials {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    const words = (key: string) =>
      new RegExp(`^${key}:(.*)$`, "m").exec(status)?.[1]?.trim().split(/\s+/) ?? [];
    const capabilities = (key: string) => namesOf(BigInt(`0x${words(key)[0] ?? "0"}`));
    return {
      // The second number is the effective id.
      uid: Number(words("Uid")[1]),
      gid: Number(words("Gid")[1]),
      groups: words("Groups").filter(Boolean).map(Number),
      effective: capabilities("CapEff"),
      permitted: capabilities("CapPrm"),
      inheritable: capabilities("CapInh"),
      bounding: capabilities("CapBnd"),
      ambient: capabilities("CapAmb"),
      noNewPrivileges: words("NoNewPrivs")[0] === "1",
    };
  }
}

function namesOf(mask: bigint): readonly string[] {
  const bits = Array.from({ length: 64 }, (_, bit) => bit);
  return bits
    .filter((bit) => (mask >> BigInt(bit)) & 1n)
    .map((bit) => CAPABILITY_NAMES.get(bit) ?? `cap_${bit}`);
}
