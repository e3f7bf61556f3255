import { ExitCode } from "./exit-code.js";
import type { Io } from "./io.js";
import { formatPage } from "./render/page.js";

/** What is wrong with a command line, and what to do. */
export interface UsageError {
  readonly text: string;
  readonly hint: string;
}

/** Says so. */
export function refuseUsage({ text, hint }: UsageError, io: Io): ExitCode {
  io.err(formatPage([[`error: ${text}; ${hint}`]], false));
  return ExitCode.usage;
}
