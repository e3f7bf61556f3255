import { type DestinationStream, destination, type Logger, pino } from "pino";
import type { LogEntry } from "../engine/index.js";

/** The log: JSON lines, to a file or to stderr. */
export class Log {
  readonly logger: Logger;
  readonly #sink: DestinationStream & { readonly reopen?: () => void };
  readonly #isFile: boolean;

  /** @throws when the file cannot be opened for appending */
  constructor(options: { readonly file: string | undefined; readonly level: string }) {
    const { file, level } = options;
    this.#isFile = file !== undefined;
    // Synchronous: the last line before a crash is the one that is wanted.
    this.#sink = destination({ dest: file ?? 2, sync: true, append: true, mkdir: false });
    this.logger = pino({ level, base: { program: "mnm-controller" } }, this.#sink);
  }

  write({ level, message, fields }: LogEntry): void {
    this.logger[level](fields, message);
  }

  /** Opens the file again, after logrotate moved it. */
  reopen(): void {
    if (this.#isFile) this.#sink.reopen?.();
  }
}
