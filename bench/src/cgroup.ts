import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/** Kilobytes, of all processes together. */
export interface Memory {
  readonly rssKb: number;
  readonly pssKb: number;
  /** Clean and dirty: what would be free without them. */
  readonly privateKb: number;
  readonly processes: number;
}

const PREFIX = "mnm-bench-";

let count = 0;

/** All processes of one program, for exact CPU time and for an end that leaves none behind. */
export class Cgroup {
  readonly #path: string;

  constructor() {
    const root = ownCgroup();
    removeAbandoned(root);
    count += 1;
    this.#path = `${root}/${PREFIX}${process.pid}-${count}`;
    mkdirSync(this.#path);
  }

  /** Takes in a process; what it starts from then on belongs to the group too. */
  add(pid: number): void {
    writeFileSync(`${this.#path}/cgroup.procs`, String(pid));
  }

  pids(): readonly number[] {
    const text = readFileSync(`${this.#path}/cgroup.procs`, "utf8");
    return text.split("\n").filter(Boolean).map(Number);
  }

  /** CPU time that its processes used, also of those that have ended. */
  cpuMs(): number {
    const text = readFileSync(`${this.#path}/cpu.stat`, "utf8");
    return Number(/^usage_usec (\d+)$/m.exec(text)?.[1]) / 1000;
  }

  memory(pids = this.pids()): Memory {
    const sums = { rssKb: 0, pssKb: 0, privateKb: 0 };
    for (const pid of pids) {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      const kb = (key: string) => Number(new RegExp(`^${key}: +(\\d+) kB`, "m").exec(text)?.[1]);
      sums.rssKb += kb("Rss");
      sums.pssKb += kb("Pss");
      sums.privateKb += kb("Private_Clean") + kb("Private_Dirty");
    }
    return { ...sums, processes: pids.length };
  }

  /** How often its threads have gone on the CPU again by themselves: wake-ups, mostly. */
  wakeUps(): number {
    const tasks = this.pids().flatMap((pid) =>
      readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}/status`),
    );
    return tasks
      .map((file) => /^voluntary_ctxt_switches:\s+(\d+)$/m.exec(readFileSync(file, "utf8"))?.[1])
      .reduce((sum, switches) => sum + Number(switches), 0);
  }

  /** As systemd stops a unit: a signal to all, SIGKILL to what is left after `graceMs`. */
  async stop(name: NodeJS.Signals, graceMs = 5000): Promise<void> {
    for (const pid of this.pids()) signal(pid, name);
    const end = performance.now() + graceMs;
    while (this.pids().length > 0 && performance.now() < end) await delay(5);
    await this.kill();
  }

  /** SIGKILL to all, at once. */
  async kill(): Promise<void> {
    while (this.pids().length > 0) {
      writeFileSync(`${this.#path}/cgroup.kill`, "1");
      await delay(2);
    }
  }

  async remove(): Promise<void> {
    await this.kill();
    // A process is gone from the list a moment before it is gone from the group.
    for (let tries = 0; existsSync(this.#path) && tries < 200; tries += 1) {
      tryRemove(this.#path);
      if (existsSync(this.#path)) await delay(5);
    }
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
  }
}

/** The folder of this process in the unified hierarchy, which may be mounted beside version 1. */
function ownCgroup(): string {
  const mount = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .find((line) => line.includes(" - cgroup2 "))
    ?.split(" ")[4];
  if (mount === undefined) throw new Error("The benchmark needs the unified cgroup hierarchy");
  const path = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
  return path === "/" ? mount : `${mount}${path}`;
}

function removeAbandoned(root: string): void {
  for (const name of readdirSync(root)) {
    if (!name.startsWith(PREFIX)) continue;
    const pid = name.slice(PREFIX.length).split("-")[0];
    if (existsSync(`/proc/${pid}`)) continue;
    writeFileSync(`${root}/${name}/cgroup.kill`, "1");
    tryRemove(`${root}/${name}`);
  }
}

function tryRemove(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Its processes are still ending: the caller, or the next run, tries again.
  }
}
