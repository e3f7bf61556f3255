import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { REPOSITORY } from "./identity.js";

/** What a program may ask of the kernel, as far as system call filters say it. */
export interface Limits {
  /** Names of the system calls that `SystemCallFilter=` leaves, its groups taken apart. */
  readonly allowed: readonly string[];
  /** Names of the address families of `RestrictAddressFamilies=`. */
  readonly families: readonly string[];
  /** `MemoryDenyWriteExecute=` */
  readonly denyWriteExecute: boolean;
  /**
   * Whether it may start no other process, threads only. No unit can say this, as it takes an
   * argument of clone(2) to tell them apart; but none of our programs does it.
   */
  readonly denyFork: boolean;
}

/**
 * What comes of a call that is denied. `kill`: SIGSYS, so that a program under test fails when it only
 * tries; under its unit it would get EPERM. `errno`: ENOANO, which no call gives by itself.
 */
export type Denial = "kill" | "errno";

/** Has to be Debian's, to which Debian's python3-seccomp belongs. */
const PYTHON = "/usr/bin/python3";

/** What the helper needs for a socket that it makes itself: that of its unit is systemd's. */
const OWN_SOCKET = ["umask", "unlink"];

/** The flags that the unit of a program gives to node. */
export function nodeFlagsOf(program: string): readonly string[] {
  const [, flags = ""] = /^ExecStart=\S*\/node((?: +-\S+)*) /m.exec(readUnit(program)) ?? [];
  return flags.split(/ +/).filter((flag) => flag !== "");
}

/**
 * The limits of a program's unit; it throws where the unit lacks one. `ownSocket`: for a helper that
 * is started without a socket from systemd.
 */
export function limitsOf(program: string, options: { readonly ownSocket?: boolean } = {}): Limits {
  const unit = readUnit(program);
  const lines = settings(unit, "SystemCallFilter");
  const families = settings(unit, "RestrictAddressFamilies").flatMap((line) => line.split(/\s+/));
  const [denyWriteExecute] = settings(unit, "MemoryDenyWriteExecute");
  if (lines.length === 0 || lines[0]?.startsWith("~")) {
    throw new Error(`${program}.service does not say which system calls are allowed`);
  }
  if (families.length === 0 || denyWriteExecute === undefined) {
    throw new Error(`${program}.service lacks RestrictAddressFamilies or MemoryDenyWriteExecute`);
  }
  const more = program === "mnm-helper" && options.ownSocket === true ? OWN_SOCKET : [];
  return {
    allowed: [...allowedCalls(lines, systemCallGroups()), ...more],
    families,
    denyWriteExecute: denyWriteExecute === "yes",
    denyFork: true,
  };
}

/**
 * The system calls that lines of `SystemCallFilter=` leave when the first of them allows: each adds
 * its calls, or with `~` removes them. What `@default` has is allowed before that. systemd.exec(5)
 */
export function allowedCalls(
  lines: readonly string[],
  groups: ReadonlyMap<string, readonly string[]>,
): readonly string[] {
  const expand = (name: string): readonly string[] => {
    if (!name.startsWith("@")) return [name];
    const group = groups.get(name);
    if (group === undefined) throw new Error(`systemd knows no group ${name}`);
    return group.flatMap(expand);
  };
  const allowed = new Set(expand("@default"));
  for (const line of lines) {
    for (const name of line.replace(/^~/, "").trim().split(/\s+/).flatMap(expand)) {
      if (line.startsWith("~")) allowed.delete(name);
      else allowed.add(name);
    }
  }
  return [...allowed];
}

/**
 * A command that runs the one that follows it under these limits, which it cannot lose again. After
 * `setpriv --no-new-privs`, without which only root may do this.
 */
export function confine(limits: Limits, denial: Denial = "kill"): readonly string[] {
  // As text, since who is confined need not be able to read our checkout.
  const script = readFileSync(join(REPOSITORY, "test/lab/confine.py"), "utf8");
  return [PYTHON, "-I", "-c", script, JSON.stringify({ ...limits, denial })];
}

let known: ReadonlyMap<string, readonly string[]> | undefined;

/** The groups of system calls, such as `@basic-io`, as the installed systemd has them. */
function systemCallGroups(): ReadonlyMap<string, readonly string[]> {
  if (known === undefined) {
    // On stderr it says that it cannot name the calls of no group, where there is no tracefs.
    const stdio = ["ignore", "pipe", "ignore"] as const;
    known = parseGroups(
      execFileSync("systemd-analyze", ["syscall-filter"], { encoding: "utf8", stdio: [...stdio] }),
    );
  }
  return known;
}

function parseGroups(text: string): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, string[]>();
  let members: string[] = [];
  for (const line of text.split("\n")) {
    const [, indent, name = ""] = /^(\s*)(@?[a-z]\S*)$/.exec(line) ?? [];
    if (indent === "") {
      members = [];
      groups.set(name, members);
    } else if (indent !== undefined) members.push(name);
  }
  return groups;
}

function settings(unit: string, key: string): readonly string[] {
  const lines = unit.matchAll(new RegExp(`^${key}=(.*)$`, "gm"));
  return [...lines].map(([, value = ""]) => value.trim());
}

function readUnit(program: string): string {
  return readFileSync(join(REPOSITORY, "systemd", `${program}.service`), "utf8");
}
