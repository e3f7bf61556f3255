import { readFileSync } from "node:fs";
import { err, ok, type Result } from "@mnm/proto/net";
import { type Config, type ConfigProblem, DEFAULT_CONFIG, parseConfig } from "../config/index.js";

export const DEFAULT_CONFIG_FILE = "/etc/mnm/mnm.yaml";

export interface LoadedConfig {
  readonly config: Config;
  /** Empty when there is no file and MNM runs on its defaults. */
  readonly file: string;
}

/**
 * Reads the configuration.
 *
 * @param named the file the operator named; without one the default file is read, which may be
 *   absent: MNM needs no configuration.
 */
export function loadConfig(
  named: string | undefined,
): Result<LoadedConfig, readonly ConfigProblem[]> {
  const file = named ?? DEFAULT_CONFIG_FILE;
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    if (named === undefined && code === "ENOENT") return ok({ config: DEFAULT_CONFIG, file: "" });
    const problem = {
      file,
      line: 1,
      column: 1,
      value: code,
      text: `the file cannot be read: ${code}`,
    };
    return err([problem]);
  }
  const parsed = parseConfig(text, file);
  return parsed.ok ? ok({ config: parsed.value, file }) : parsed;
}
