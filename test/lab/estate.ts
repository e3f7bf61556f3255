/**
 * What a lab owns on the machine, and how all of it goes away.
 *
 * A lab is a directory /run/mnm-lab/ID.PID.START and network namespaces mnm-ID-*. The name
 * of the directory says who owns it, so there is no moment at which a lab exists and its owner is
 * not known: PID alone could be another process by now, the start time tells. A file `keep`
 * inside says that it shall outlive its owner. Every process inside the
 * namespaces belongs to the lab.
 *
 * Removal is synchronous, because the last chance is Node's "exit" event.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { killRunning } from "./run.js";

const ROOT = "/run/mnm-lab";
const NETNS = "/run/netns";

export interface Estate {
  readonly id: string;
  readonly directory: string;
}

const live = new Set<Estate>();
let watching = false;

/** A new lab's directory, removed with everything else when this process ends, however it ends. */
export function createEstate(): Estate {
  const id = randomBytes(3).toString("hex");
  const directory = `${ROOT}/${id}.${process.pid}.${startTimeOf(process.pid) ?? 0}`;
  mkdirSync(ROOT, { recursive: true, mode: 0o755 });
  mkdirSync(directory, { mode: 0o755 });
  const estate = { id, directory };
  watchForEnd();
  live.add(estate);
  return estate;
}

export function namespaceName({ id }: Estate, part: string): string {
  return `mnm-${id}-${part}`;
}

/** Lets a lab outlive this process. */
export function keepEstate(estate: Estate): void {
  writeFileSync(`${estate.directory}/keep`, "");
  live.delete(estate);
}

/** Kills what runs in the lab's namespaces, then removes these and the directory. Idempotent. */
export function removeEstate(estate: Estate): void {
  removeNamespaces(namespacesOf(estate));
  // A namespace that would not go keeps its directory: the next lab tries again.
  if (namespacesOf(estate).length === 0) rmSync(estate.directory, { recursive: true, force: true });
  live.delete(estate);
}

/** Removes labs whose owner died without doing so: SIGKILL, a crash. */
export function removeAbandoned(): void {
  for (const { estate, ownerLives } of estates()) {
    if (!ownerLives && !existsSync(`${estate.directory}/keep`)) removeEstate(estate);
  }
  // Namespaces that were being made while their lab was removed: a lab's directory is there
  // before the first of them and goes after the last. So look at them first.
  const names = labNamespaces();
  const owned = new Set(estates().map(({ estate }) => estate.id));
  removeNamespaces(names.filter((name) => !owned.has(name.split("-")[1] ?? "")));
}

/** The labs that were told to stay. */
export function keptEstates(): readonly Estate[] {
  return estates()
    .map(({ estate }) => estate)
    .filter(({ directory }) => existsSync(`${directory}/keep`));
}

function estates(): readonly { readonly estate: Estate; readonly ownerLives: boolean }[] {
  if (!existsSync(ROOT)) return [];
  return readdirSync(ROOT).flatMap((name) => {
    const [id, pid, start] = name.split(".");
    if (id === undefined || pid === undefined || start === undefined) return [];
    const estate = { id, directory: `${ROOT}/${name}` };
    return [{ estate, ownerLives: startTimeOf(Number(pid)) === start }];
  });
}

function labNamespaces(): readonly string[] {
  if (!existsSync(NETNS)) return [];
  return readdirSync(NETNS).filter((name) =>
    /^mnm-[0-9a-f]{6}-(host|inet|ctr|(isp|srv)\d+)$/.test(name),
  );
}

function namespacesOf(estate: Estate): readonly string[] {
  return labNamespaces().filter((name) => name.startsWith(namespaceName(estate, "")));
}

function removeNamespaces(names: readonly string[]): void {
  if (names.length === 0) return;
  const inodes = new Set(
    names.map((name) => `net:[${ignoreGone(() => statSync(`${NETNS}/${name}`).ino)}]`),
  );
  killAll(inodes);
  const input = names.map((name) => `netns del ${name}\n`).join("");
  spawnSync("ip", ["-force", "-b", "-"], { input, stdio: ["pipe", "ignore", "ignore"] });
  // What entered in between; from now on nothing can, the names are gone.
  killAll(inodes);
}

function killAll(inodes: ReadonlySet<string>): void {
  // A process may fork while we look; a second look finds nothing to do or the child.
  for (let look = 0; look < 10; look++) {
    const found = processesIn(inodes);
    if (found.length === 0) return;
    for (const pid of found) ignoreGone(() => process.kill(pid, "SIGKILL"));
  }
}

function processesIn(inodes: ReadonlySet<string>): readonly number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
    .filter((pid) => inodes.has(ignoreGone(() => readlinkSync(`/proc/${pid}/ns/net`)) ?? ""));
}

/** Field 22 of /proc/PID/stat, in clock ticks since boot; undefined when there is no such process. */
function startTimeOf(pid: number): string | undefined {
  const stat = ignoreGone(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
  // The second field, the name in parentheses, may itself hold spaces and parentheses.
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

function ignoreGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

function watchForEnd(): void {
  if (watching) return;
  watching = true;
  process.on("exit", removeLive);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      removeLive();
      process.removeListener("exit", removeLive);
      // Once more, now without a listener: the parent must see that a signal ended us.
      process.kill(process.pid, signal);
      // Still here: as process 1 of a pid namespace, which no signal ends by default.
      process.exit(1);
    });
  }
}

function removeLive(): void {
  killRunning();
  for (const estate of live) removeEstate(estate);
}
