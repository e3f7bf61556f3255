import { accessSync, constants, readFileSync } from "node:fs";
import { statusField } from "./capabilities.js";
import { attempt } from "./fault.js";
import { becomeProgram } from "./sys.js";
import type { User } from "./users.js";

/**
 * Begins anew as that user, with the two capabilities and no way to more; returns only why it
 * could not.
 *
 * Privileges must be gone before Node starts: capset(2) reaches one thread, and Node has several.
 * So this process becomes setpriv(1), or capsh(1) where that is not installed, which becomes Node
 * again, with the same flags and `args`.
 */
export function dropTo(user: User, args: readonly string[]): string {
  const [, script = ""] = process.argv;
  const again = [...process.execArgv, script, ...args];
  const setpriv = programAt("setpriv");
  const capsh = programAt("capsh");
  const become = (file: string, given: readonly string[]) => {
    const outcome = attempt(() => becomeProgram(file, [file, ...given]));
    return `${file}: ${outcome.ok ? "" : outcome.error.text}`;
  };
  if (setpriv !== undefined) return become(setpriv, [...setprivArgs(user), ...again]);
  if (capsh !== undefined) return become(capsh, [...capshArgs(user), "--", ...again]);
  return "Neither setpriv (Debian package util-linux) nor capsh (libcap2-bin) is installed";
}

function setprivArgs({ uid, gid }: User): readonly string[] {
  const two = "-all,+net_admin,+net_raw";
  const user = [`--reuid=${uid}`, `--regid=${gid}`, "--init-groups"];
  const sets = [`--bounding-set=${two}`, `--inh-caps=${two}`, `--ambient-caps=${two}`];
  return [...user, ...sets, "--no-new-privs", process.execPath];
}

function capshArgs({ name }: User): readonly string[] {
  const two = "cap_net_admin,cap_net_raw";
  // It knows no "all but": each of the others by its number.
  const bounding = statusField(readFileSync("/proc/self/status", "utf8"), "CapBnd");
  const mask = BigInt(`0x${bounding ?? 0}`) & ~0x3000n;
  const others = Array.from({ length: 64 }, (_, bit) => bit)
    .filter((bit) => (mask >> BigInt(bit)) & 1n)
    .join(",");
  const drop = others === "" ? [] : [`--drop=${others}`];
  // It keeps the permitted set over the change of user, which the ambient set is taken from; exec
  // leaves of it what is ambient.
  const user = ["--keep=1", `--user=${name}`];
  const sets = [`--inh=${two}`, `--addamb=${two}`, "--no-new-privs"];
  return [...drop, ...user, ...sets, `--shell=${process.execPath}`];
}

/** By fixed folders: PATH is the caller's, and this runs as root. */
function programAt(name: string): string | undefined {
  return ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
    .map((folder) => `${folder}/${name}`)
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
