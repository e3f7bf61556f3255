import { chownSync, copyFileSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { confine, limitsOf, nodeFlagsOf } from "./confinement.js";
import {
  controllerPrivileges,
  helperPrivileges,
  type Identities,
  identities,
  isOpen,
  programFile,
  REPOSITORY,
} from "./identity.js";
import type { Namespace } from "./namespace.js";
import type { Program } from "./program.js";
import { type Output, run } from "./run.js";

export interface StartOptions {
  /** Text of the configuration file; the controller's default manages the lab's uplinks. */
  readonly config?: string;
  readonly args?: readonly string[];
  /** Arguments for node itself. */
  readonly nodeArgs?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A command that runs the one that follows it, as root: `unshare --time` and its like. */
  readonly runBy?: readonly string[];
  /** A command that runs node, as the program's own user: `env NAME=VALUE`. */
  readonly nodeRunBy?: readonly string[];
  /**
   * False: node without the flags and the system call filter of the program's unit, as where the
   * tools for the latter are not to be asked for.
   */
  readonly confined?: boolean;
  /** False: returns as soon as the process exists, without waiting for its socket. */
  readonly wait?: boolean;
}

/** Starts the programs under test as they are meant to run: two users, almost no privilege. */
export class Launcher {
  readonly identities: Identities = identities();
  readonly helperSocket: string;
  readonly controllerSocket: string;
  readonly stateDirectory: string;
  readonly configFile: string;
  readonly #directory: string;
  readonly #host: Namespace;
  readonly #namePrefix: string;

  constructor(options: {
    readonly directory: string;
    readonly host: Namespace;
    readonly namePrefix: string;
  }) {
    this.#directory = options.directory;
    this.#host = options.host;
    this.#namePrefix = options.namePrefix;
    this.helperSocket = `${options.directory}/helper/helper.sock`;
    this.controllerSocket = `${options.directory}/controller/controller.sock`;
    this.stateDirectory = `${options.directory}/state`;
    this.configFile = `${options.directory}/mnm.yaml`;
    const { helperUid, helperGid, controllerUid, controllerGid } = this.identities;
    ownedDirectory(dirname(this.helperSocket), helperUid, helperGid);
    ownedDirectory(dirname(this.controllerSocket), controllerUid, controllerGid);
    ownedDirectory(this.stateDirectory, controllerUid, controllerGid);
  }

  async startHelper(options: StartOptions = {}): Promise<Program> {
    const args = ["--socket", this.helperSocket];
    args.push("--peer-uid", String(this.identities.controllerUid));
    if (options.config !== undefined) {
      const file = `${this.#directory}/helper.json`;
      writeFileSync(file, options.config, { mode: 0o644 });
      args.push("--config", file);
    }
    const privileges = helperPrivileges(this.identities);
    return await this.#start("mnm-helper", privileges, args, options);
  }

  async startController(options: StartOptions = {}): Promise<Program> {
    this.writeConfig(options.config ?? `links:\n  "${this.#namePrefix}*": {}\n`);
    const args = ["-c", this.configFile, "--helper-socket", this.helperSocket];
    args.push("--socket", this.controllerSocket, "--state-dir", this.stateDirectory);
    const privileges = controllerPrivileges(this.identities);
    return await this.#start("mnm-controller", privileges, args, options);
  }

  /** Writes the controller's configuration file, for it to read at start or at a reload. */
  writeConfig(text: string): void {
    writeFileSync(this.configFile, text, { mode: 0o644 });
  }

  /** `mnmctl` as the test's own user, told where the controller's socket is. */
  async mnmctl(args: readonly string[]): Promise<Output> {
    const env = { ...process.env, MNM_SOCKET: this.controllerSocket };
    return await run(process.execPath, [programFile("mnmctl"), ...args], { env });
  }

  async #start(
    name: "mnm-helper" | "mnm-controller",
    privileges: readonly string[],
    args: readonly string[],
    options: StartOptions,
  ): Promise<Program> {
    const script = programFile(name);
    const socket = name === "mnm-helper" ? this.helperSocket : this.controllerSocket;
    const before = createdAt(socket);
    const [node, file, ...show] = this.#reachable(script);
    const { runBy = [], nodeRunBy = [], confined = true } = options;
    const filter = confined ? confine(limitsOf(name, { ownSocket: true })) : [];
    const nodeArgs = [...(confined ? nodeFlagsOf(name) : []), ...(options.nodeArgs ?? [])];
    const all = [...nodeArgs, file, ...args, ...(options.args ?? [])];
    const command = [...show, ...runBy, ...privileges, ...filter, ...nodeRunBy, node, ...all];
    const program = this.#host.start(name, command, { ...process.env, ...options.env });
    if (options.wait === false) return program;
    // A killed program leaves its socket behind: only another one counts.
    await program.ready(() => ![undefined, before].includes(createdAt(socket)), `socket ${socket}`);
    return program;
  }

  /**
   * Node and the script as the program's uid can reach them, and the command that has to come
   * first. A clone in /root or in a fresh `mktemp -d` is closed to others, as is a Node in
   * root's home: these are shown to the program at an open place, in the private mount namespace that
   * `ip netns exec` makes, so that they are gone with it.
   */
  #reachable(script: string): readonly [string, string, ...string[]] {
    if (!this.identities.separate || isOpen(script, process.execPath)) {
      return [process.execPath, script];
    }
    const shown = `${this.#directory}/shown`;
    for (const folder of ["dist", "node_modules"]) {
      mkdirSync(`${shown}/${folder}`, { recursive: true });
    }
    copyFileSync(`${REPOSITORY}/package.json`, `${shown}/package.json`);
    writeFileSync(`${shown}/node`, "");
    const mounts = `
      mount --bind "$1/dist" "$2/dist"
      mount --bind "$1/node_modules" "$2/node_modules"
      mount --bind "$3" "$2/node"
      shift 3
      exec "$@"`;
    const seen = `${shown}/dist/${basename(script)}`;
    const show = ["sh", "-euc", mounts, "sh", REPOSITORY, shown, process.execPath];
    return [`${shown}/node`, seen, ...show];
  }
}

/** A directory that its owner may write and everybody may enter; what is in it says who may more. */
function ownedDirectory(path: string, uid: number, gid: number): void {
  mkdirSync(path, { recursive: true, mode: 0o755 });
  chownSync(path, uid, gid);
}

/** When a file came to be, as text that compares; undefined when there is none. */
function createdAt(path: string): string | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.birthtimeNs.toString();
}
