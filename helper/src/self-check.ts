import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { capabilityFault, parseCapabilities, statusField } from "./capabilities.js";

/**
 * Prints what this process is and holds, in lines for people, and judges it as a start would; gives
 * the status to exit with: 0, 77 or 78.
 */
export function selfCheck(settings: {
  /** What the configuration says, as a sentence, and whether the helper would start with it. */
  readonly config: { readonly ok: boolean; readonly text: string };
  readonly mayExceed: boolean;
}): 0 | 77 | 78 {
  const { config, mayExceed } = settings;
  const status = readFileSync("/proc/self/status", "utf8");
  const capabilities = parseCapabilities(status);
  const fault = capabilityFault(capabilities, mayExceed);
  const field = (name: string) => statusField(status, name)?.split(/\s+/) ?? [];
  const [uid, effective] = field("Uid");
  const lines: readonly (readonly [string, string])[] = [
    ["uid", `${uid}, effective ${effective}`],
    ["gid", `${field("Gid")[0]}, groups ${field("Groups").join(" ").trim() || "none"}`],
    ...Object.entries(capabilities.sets).map(([set, held]) => [set, shorten(held)] as const),
    ["NoNewPrivs", field("NoNewPrivs")[0] === "1" ? "yes" : "no"],
    ["Seccomp", ["off", "strict", "filter"][Number(field("Seccomp")[0])] ?? "unknown"],
    ["configuration", config.text],
    ["pscap", heardFrom("pscap", ["-a"], new RegExp(`^\\s*\\d+\\s+${process.pid}\\s.*`, "m"))],
    ["captest", heardFrom("captest", ["--text"], /^Child Effective:.*/m)],
    ["result", fault ?? (config.ok ? "fit to serve" : "unfit: configuration")],
  ];
  for (const [name, text] of lines) process.stdout.write(`${name.padEnd(14)} ${text}\n`);
  if (fault !== undefined) return 77;
  return config.ok ? 0 : 78;
}

/** The names, and of what has none here the number. */
function shorten(held: readonly string[]): string {
  const named = held.filter((name) => name.startsWith("CAP_"));
  const others = held.length - named.length;
  return [...named, ...(others > 0 ? [`and ${others} others`] : [])].join(" ") || "none";
}

/** What a tool of libcap-ng says of this process or of a child of it: an opinion of other code. */
function heardFrom(tool: string, args: readonly string[], line: RegExp): string {
  const { stdout, error } = spawnSync(tool, args, { encoding: "utf8" });
  if (error !== undefined) return "not installed (Debian package libcap-ng-utils)";
  return line.exec(stdout)?.[0].trim().replace(/\s+/g, " ") ?? "nothing";
}
