import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import type { Lab } from "../../test/dist/lab/index.js";
import type { Program } from "../../test/dist/lab/program.js";
import type { Cgroup } from "./cgroup.js";
import type { Tools } from "./tools.js";

/** Where a program runs: a lab of its own. */
export interface Ground {
  readonly lab: Lab;
  readonly uplinks: number;
  readonly tools: Tools;
  readonly cgroup: Cgroup;
}

/** A program that configures uplinks, MNM among them. */
export interface Peer {
  readonly name: string;
  readonly maxLinks: number;
  /** Whether it follows links and carriers that come and go. */
  readonly followsLinks: boolean;
  /** What its unit sends to stop it before another start; SIGTERM unless told. */
  readonly restartSignal?: NodeJS.Signals;
  /** Starts it; gives the files in which its exec wrote the time. `fresh`: remembering nothing. */
  start(ground: Ground, fresh: boolean): Promise<readonly string[]>;
}

/** A peer's own /etc, /run and /var/lib, so that it neither sees nor changes the machine's. */
export class PrivateFiles {
  readonly #ground: Ground;
  readonly #root: string;

  constructor(ground: Ground) {
    this.#ground = ground;
    this.#root = `${ground.lab.directory}/private`;
  }

  /** Makes the folders anew, with what programs read of /etc whatever they do. */
  reset(): void {
    rmSync(this.#root, { recursive: true, force: true });
    for (const folder of ["etc", "run", "lib"]) {
      mkdirSync(`${this.#root}/${folder}`, { recursive: true });
    }
    for (const name of ["passwd", "group", "nsswitch.conf", "ld.so.cache", "hosts", "machine-id"]) {
      if (existsSync(`/etc/${name}`)) copyFileSync(`/etc/${name}`, `${this.#root}/etc/${name}`);
    }
  }

  /** A path outside for one that the peer sees, e.g. /etc/dhcpcd.conf. */
  outside(path: string): string {
    return `${this.#root}${path.replace(/^\/var\/lib/, "/lib")}`;
  }

  /**
   * Starts a command among these files, in the host's network namespace and a mount and UTS
   * namespace of its own. /sys is read-only: there, networkd and NetworkManager do not wait for a
   * udev that does not run here.
   */
  start(name: string, command: readonly string[], env: NodeJS.ProcessEnv = {}): Program {
    const script = [
      "mount -o remount,bind,ro /sys",
      'mount --bind "$1/etc" /etc',
      'mount --bind "$1/lib" /var/lib',
      'mount --bind "$1/run" /run',
      "shift",
      'exec "$@"',
    ].join("\n");
    const inside = ["unshare", "--uts", "sh", "-euc", script, "sh", this.#root, ...command];
    return this.#ground.lab.host.start(name, inside, { ...process.env, ...env });
  }

  /** As {@link start}, for the program that is measured: counted, and its exec timed. */
  startMeasured(name: string, command: readonly string[], env?: NodeJS.ProcessEnv): string {
    const { tools, cgroup } = this.#ground;
    const stamp = this.outside("/run/started");
    rmSync(stamp, { force: true });
    const program = this.start(name, [tools.stamp, "/run/started", ...command], env);
    cgroup.add(program.pid);
    return stamp;
  }
}

/** The time in files of native/stamp.c: of the first exec. */
export function startedAt(stamps: readonly string[]): number {
  return Math.min(...stamps.map((file) => Number(readFileSync(file, "utf8"))));
}
