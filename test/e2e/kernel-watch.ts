import type { Namespace } from "../lab/index.js";
import type { Program } from "../lab/program.js";
import { until } from "../lab/run.js";

/** One notification of the kernel, as `ip monitor` tells it. */
export interface KernelLine {
  /** Milliseconds since 1970, with fractions: when `ip` read it. */
  readonly at: number;
  /** It was deleted. */
  readonly isGone: boolean;
  /** The object, with single spaces; of an address only its first line. */
  readonly text: string;
}

const PATIENCE_MS = 20_000;

/** What happens to IPv4 addresses, routes and rules of a namespace, with the time of it. */
export class KernelWatch {
  readonly #program: Program;

  private constructor(program: Program) {
    this.#program = program;
  }

  /** Watches from now on: nothing is missed that comes after this returns. */
  static async start(host: Namespace): Promise<KernelWatch> {
    const command = ["ip", "-4", "-ts", "monitor", "address", "route", "rule"];
    const watch = new KernelWatch(host.start(`${host.name}-monitor`, command));
    // It says nothing of when it listens, but then of this.
    const probe = ["address", "127.9.9.9/32", "dev", "lo"] as const;
    const [object, ...words] = probe;
    await until(
      async () => {
        await host.ip(object, "add", ...words);
        await host.ip(object, "del", ...words);
        return watch.lines.some(({ text }) => text.includes("127.9.9.9"));
      },
      { timeoutMs: PATIENCE_MS, what: "a word of ip monitor" },
    );
    return watch;
  }

  /** All so far, in the kernel's order. */
  get lines(): readonly KernelLine[] {
    const log = this.#program.log();
    const whole = log.slice(0, log.lastIndexOf("\n") + 1);
    return whole.split("\n").flatMap((line) => {
      const [, time = "", gone, text = ""] = LINE.exec(line) ?? [];
      return text === ""
        ? []
        : [{ at: timeOf(time), isGone: gone !== undefined, text: oneSpaced(text) }];
    });
  }

  /** Waits for the first line after `skip` that fits. */
  async next(skip: number, fits: (line: KernelLine) => boolean, what: string): Promise<KernelLine> {
    return await until(() => this.lines.slice(skip).find(fits), { timeoutMs: PATIENCE_MS, what });
  }

  async stop(): Promise<void> {
    await this.#program.stop();
  }
}

/** `[2031-01-02T03:04:05.678901] Deleted 10000: from …`. */
const LINE = /^\[([\dT:.-]+)\] (Deleted )?(.*)$/;

function timeOf(text: string): number {
  const [whole = "", fraction = "0"] = text.split(".");
  // In local time, as `ip` writes it and Date reads it.
  return Date.parse(whole) + Number(`0.${fraction}`) * 1000;
}

function oneSpaced(text: string): string {
  return text.trim().replace(/\s+/g, " ");
}
