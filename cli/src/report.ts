import { type CallFault, callFaultSentence, exitCodeOf } from "./call-fault.js";
import type { ExitCode } from "./exit-code.js";
import type { Session } from "./io.js";
import { faultJson, formatJson } from "./render/json.js";
import { formatPage, type Line } from "./render/page.js";

/** Writes a command's answer: lines for people, or one JSON object. */
export function answer(
  { io, json, useColor }: Session,
  page: () => readonly Line[],
  fields: () => object,
): void {
  io.out(json ? formatJson(fields(), "pretty") : formatPage(page(), useColor));
}

/** Says why a call failed: a sentence on standard error and, when asked for, JSON as the answer. */
export function reportCallFault({ io, json }: Session, fault: CallFault): ExitCode {
  const sentence = callFaultSentence(fault);
  const problems = fault.code === "refused" ? fault.fault.problems : [];
  const lines = problems.map(({ file, line, column, text }) => [
    `${file}:${line}:${column}: ${text}`,
  ]);
  io.err(formatPage([[`error: ${sentence}`], ...lines], false));
  if (json) {
    const refused = fault.code === "refused" ? faultJson(fault.fault) : { code: fault.code };
    io.out(formatJson({ error: { ...refused, text: sentence } }, "pretty"));
  }
  return exitCodeOf(fault);
}
