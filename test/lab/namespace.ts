import { Probe } from "./probe.js";
import { Program } from "./program.js";
import { must, type Output, run } from "./run.js";

/** A network namespace that the lab made. */
export class Namespace {
  readonly name: string;
  readonly #logs: string;
  #probe: Probe | undefined;
  #programs = 0;

  constructor(options: { readonly name: string; readonly logs: string }) {
    this.name = options.name;
    this.#logs = options.logs;
  }

  /** `command` as argv that runs inside; the process keeps the pid of the spawned one. */
  argv(...command: readonly string[]): [string, ...string[]] {
    return ["ip", "netns", "exec", this.name, ...command];
  }

  exec(...command: readonly string[]): Promise<Output> {
    const [file, ...args] = this.argv(...command);
    return run(file, args);
  }

  /** Runs a shell script that must succeed, e.g. to write /proc/sys of this namespace. */
  shell(script: string): Promise<string> {
    const [file, ...args] = this.argv("sh", "-euc", script);
    return must(file, args);
  }

  /** `ip` with these arguments; gives what it printed, throws what it complained about. */
  ip(...args: readonly string[]): Promise<string> {
    return must("ip", ["-n", this.name, ...args]);
  }

  /** Many `ip` commands by one process, stopping at the first that fails. */
  async ipBatch(lines: readonly string[]): Promise<void> {
    await must("ip", ["-n", this.name, "-b", "-"], { input: `${lines.join("\n")}\n` });
  }

  /** Starts a program that writes to a log file of its own. */
  start(name: string, command: readonly string[], env?: NodeJS.ProcessEnv): Program {
    this.#programs += 1;
    return new Program({
      name,
      command: this.argv(...command),
      logFile: `${this.#logs}/${name}.${this.#programs}.log`,
      ...(env === undefined ? {} : { env }),
    });
  }

  /** The one probe process of this namespace, started at its first use. */
  probe(): Probe {
    this.#probe ??= new Probe(this.argv());
    return this.#probe;
  }

  async close(): Promise<void> {
    await this.#probe?.close();
    this.#probe = undefined;
  }
}
