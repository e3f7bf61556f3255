/**
 * This machine's own Debian, booted with systemd as its process 1 in a lab's host namespace: what is
 * installed and configured in it stays in memory and is gone afterwards.
 *
 * The mounts are in a mount namespace of their own, so that the kernel removes them with the last
 * process, however that ends; the processes are in the lab's network namespace, and end with the lab.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { REPOSITORY } from "./identity.js";
import type { Lab } from "./lab.js";
import type { Program } from "./program.js";
import { Program as NspawnProgram } from "./program.js";
import { type Output, run, until } from "./run.js";

/** Where the checkout is, inside. */
export const CHECKOUT = "/checkout";

/**
 * Nothing of this machine's own is started: only what every service needs. Debian's images may
 * forbid services to start (policy-rc.d), or say that this is Docker; here neither is so.
 */
const PREPARE = `
  place=$1; shift
  mkdir -p /run/systemd/nspawn
  mount -t tmpfs tmpfs /run/systemd/nspawn
  mount -t tmpfs tmpfs "$place"
  mkdir "$place/upper" "$place/work" "$place/root"
  mount -t overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" overlay "$place/root"
  cd "$place/root"
  rm -f .dockerenv usr/sbin/policy-rc.d etc/machine-id etc/resolv.conf
  : >etc/machine-id
  printf 'nameserver 192.0.2.53\\n' >etc/resolv.conf
  mkdir -p etc/systemd/system etc/systemd/journald.conf.d
  printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\nAllowIsolate=yes\\n' \\
    >etc/systemd/system/lab.target
  rm -f etc/systemd/system/timers.target.wants/* etc/systemd/system/sockets.target.wants/*
  printf '[Journal]\\nStorage=volatile\\nRateLimitBurst=0\\n' >etc/systemd/journald.conf.d/lab.conf
  # Of the machine's own, what would touch the lab's network, and what apt would wake.
  for unit in nftables.service ufw.service firewalld.service systemd-networkd.service \
    networking.service NetworkManager.service dbus.service dbus.socket; do
    ln -sf /dev/null "etc/systemd/system/$unit"
  done
  cd /
  exec systemd-nspawn "$@"`;

export interface ServiceState {
  readonly [property: string]: string;
}

export class BootedSystem implements AsyncDisposable {
  readonly #nspawn: Program;
  readonly #leader: number;

  private constructor(nspawn: Program, leader: number) {
    this.#nspawn = nspawn;
    this.#leader = leader;
  }

  /** Boots in the network namespace of the lab's host. One for each lab. */
  static async boot(lab: Lab): Promise<BootedSystem> {
    const place = `${lab.directory}/system`;
    mkdirSync(place);
    const nspawn = [
      "--quiet",
      `--directory=${place}/root`,
      `--machine=${lab.host.name}`,
      `--network-namespace-path=/run/netns/${lab.host.name}`,
      // What a machine's own systemd has, of which the helper gets two.
      "--capability=CAP_NET_ADMIN",
      // This machine may have no systemd to register with, or to ask for a cgroup.
      "--register=no",
      "--keep-unit",
      "--console=read-only",
      "--resolv-conf=off",
      "--link-journal=no",
      `--bind-ro=${REPOSITORY}:${CHECKOUT}`,
      ...(process.execPath === NODE ? [] : [`--bind-ro=${process.execPath}:${NODE}`]),
      "--boot",
      "systemd.unit=lab.target",
      "systemd.show_status=false",
    ];
    const shell = ["sh", "-euc", PREPARE, "sh", place, ...nspawn];
    const program = new NspawnProgram({
      name: "nspawn",
      command: ["unshare", "--mount", "--propagation=private", ...shell],
      logFile: `${lab.directory}/logs/nspawn.log`,
      env: {
        ...process.env,
        SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1",
        // Its lock file would be on this machine.
        SYSTEMD_NSPAWN_LOCK: "0",
      },
    });
    try {
      const leader = await program.ready(() => initOf(program.pid), "process 1", 30_000);
      const system = new BootedSystem(program, leader);
      await program.ready(() => system.isActive("lab.target"), "its boot", 60_000);
      return system;
    } catch (cause) {
      await program.stop("SIGKILL");
      throw cause;
    }
  }

  /** Runs a command inside, as root with every capability. */
  exec(...command: readonly string[]): Promise<Output> {
    const inside = ["--mount", "--uts", "--ipc", "--net", "--pid"];
    const env = { ...CLEAN, PATH: process.env["PATH"] };
    return run("nsenter", ["--target", String(this.#leader), ...inside, "--", ...command], { env });
  }

  /** As {@link exec}, for a shell script that must succeed; gives what it printed. */
  async shell(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.exec("sh", "-euc", script);
    if (code === 0) return stdout;
    throw new Error(`${script}: exit ${code}: ${stderr.trim()}\n${stdout.trim()}`);
  }

  /** A path inside, as this process can open it. */
  path(inside: string): string {
    return `/proc/${this.#leader}/root${inside}`;
  }

  /** Properties of a unit, as systemctl(1) shows them. Times are microseconds of CLOCK_MONOTONIC. */
  async show(unit: string, ...properties: readonly string[]): Promise<ServiceState> {
    const text = await this.shell(`systemctl show ${unit} -p ${properties.join(",")}`);
    const lines = text.trim().split("\n");
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
  }

  async isActive(unit: string): Promise<boolean> {
    return (await this.exec("systemctl", "is-active", "--quiet", unit)).code === 0;
  }

  /** What a service has logged. */
  async journal(unit: string): Promise<string> {
    return await this.shell(`journalctl --no-pager -o cat -u ${unit}`);
  }

  /** Waits until `probe` holds, or throws with what systemd says of the unit. */
  async until(
    unit: string,
    what: string,
    probe: (state: ServiceState) => boolean,
    properties: readonly string[],
  ): Promise<ServiceState> {
    const look = async () => {
      const state = await this.show(unit, ...properties);
      return probe(state) ? state : undefined;
    };
    try {
      return await until(look, { timeoutMs: 60_000, what });
    } catch (cause) {
      const { stdout } = await this.exec("systemctl", "status", "--no-pager", "--lines=30", unit);
      throw new Error(`${unit}: ${what}:\n${stdout}`, { cause });
    }
  }

  /** /proc/PID/status of a service's main process, as pairs. */
  async processStatus(unit: string): Promise<ReadonlyMap<string, string>> {
    const { MainPID } = await this.show(unit, "MainPID");
    const text = readFileSync(this.path(`/proc/${MainPID}/status`), "utf8");
    return new Map(
      text.split("\n").map((line) => {
        const [key = "", ...rest] = line.split(":");
        return [key, rest.join(":").trim()];
      }),
    );
  }

  /** Process 1 is gone, and all mounts with it, when this returns. */
  async close(): Promise<void> {
    try {
      process.kill(this.#leader, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.#nspawn.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Where the units expect it. */
const NODE = "/usr/bin/node";

/** Tests are run by a node that may have been told a lot. */
const CLEAN: NodeJS.ProcessEnv = { LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" };

/** The process below `pid` that is 1 in a namespace of its own and has become systemd. */
function initOf(pid: number): number | undefined {
  const children = read(`/proc/${pid}/task/${pid}/children`).trim();
  for (const child of children === "" ? [] : children.split(" ").map(Number)) {
    const status = read(`/proc/${child}/status`);
    const isInit = /^NSpid:.*\t1$/m.test(status) && /^Name:\tsystemd$/m.test(status);
    const found = isInit ? child : initOf(child);
    if (found !== undefined) return found;
  }
  return undefined;
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
