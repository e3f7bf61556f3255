import { readFile } from "node:fs/promises";
import { type ConfigProblem, formatProblem, parseConfig } from "@mnm/controller/config";
import type { Invocation } from "../arguments.js";
import { ExitCode } from "../exit-code.js";
import type { Session } from "../io.js";
import { checkPage } from "../render/check.js";
import { formatJson, problemJson } from "../render/json.js";
import { formatPage } from "../render/page.js";
import { answer } from "../report.js";

export async function check({ words }: Invocation, session: Session): Promise<ExitCode> {
  const [file = ""] = words;
  const text = await textOf(file);
  if (typeof text !== "string") {
    session.io.err(formatPage([[`error: cannot read ${file}: ${text.reason}`]], false));
    return ExitCode.failed;
  }
  const parsed = parseConfig(text, file);
  if (!parsed.ok) return refuseFile(file, parsed.error, session);
  const config = parsed.value;
  answer(
    session,
    () => checkPage(file, config),
    () => ({ file, ok: true, problems: [] }),
  );
  return ExitCode.done;
}

/** The problems are the answer; standard error has the one sentence. */
function refuseFile(
  file: string,
  problems: readonly ConfigProblem[],
  { io, json, useColor }: Session,
): ExitCode {
  const fields = { file, ok: false, problems: problems.map(problemJson) };
  const lines = problems.map((problem) => [formatProblem(problem)]);
  io.out(json ? formatJson(fields, "pretty") : formatPage(lines, useColor));
  const count = problems.length === 1 ? "a problem" : `${problems.length} problems`;
  io.err(formatPage([[`error: ${file} has ${count}; correct it before using it`]], false));
  return ExitCode.failed;
}

async function textOf(file: string): Promise<string | { readonly reason: string }> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const errno = error instanceof Error && "code" in error ? error.code : undefined;
    if (errno === "ENOENT") return { reason: "there is no such file; check the path" };
    if (errno === "EACCES") return { reason: "permission denied; run mnmctl as its owner" };
    if (errno === "EISDIR") return { reason: "it is a directory; name the file in it" };
    return { reason: `${errno ?? "unknown reason"}; try another copy` };
  }
}
