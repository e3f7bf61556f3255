import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { OperationResult } from "@mnm/proto/helper";
import { ApplyResponse } from "@mnm/proto/helper";
import { HELPER_UID } from "./helper-rig.js";
import { encodeRequest, type Message, type Verb } from "./hostile-wire.js";

export const CONTROLLER_UID = 65532;

/** What the program is to do. */
export type Order = { readonly id: number } & (
  | ({ readonly kind: "call"; readonly path: string; readonly message: Buffer } & CallOptions)
  | ({ readonly kind: "sessions" } & Sessions)
  | { readonly kind: "connects"; readonly count: number }
  | { readonly kind: "exchange"; readonly message: Buffer }
);

interface Sessions {
  readonly count: number;
  readonly seed: number;
  /** Whether all that is wrong with them comes after a Hello as it should be. */
  readonly saysHello: boolean;
}

interface CallOptions {
  /** Each is a connection of its own. */
  readonly client: number;
  readonly metadataBytes: number;
  readonly cancels: boolean;
  readonly compresses: boolean;
}

const PLAIN: CallOptions = { client: 0, metadataBytes: 0, cancels: false, compresses: false };

/** How a call ended: a status of gRPC, and its answer's bytes. */
export interface Answer {
  readonly id: number;
  readonly code: number;
  readonly details: string;
  readonly message: Buffer;
}

/** How to run a program as the controller's user: in the helper's group, without any capability. */
export function asController(...command: readonly string[]): readonly string[] {
  const user = [`--reuid=${CONTROLLER_UID}`, `--regid=${HELPER_UID}`, "--clear-groups"];
  return [...user, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", ...command];
}

/** A program under the controller's uid that calls the helper with whatever it is given. */
export class HostileController {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #orders = 0;

  constructor(socket: string) {
    const script = fileURLToPath(new URL("./hostile-caller.js", import.meta.url));
    const command = asController(process.execPath, script, socket);
    const stdio = ["ignore", "inherit", "inherit", "ipc"] as const;
    this.#child = spawn("setpriv", command, { stdio: [...stdio], serialization: "advanced" });
    this.#child.on("message", (answer: Answer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** A call of any path with any bytes. */
  call(path: string, message: Uint8Array, options: Partial<CallOptions> = {}): Promise<Answer> {
    const bytes = Buffer.from(message);
    return this.#order({ kind: "call", path, message: bytes, ...PLAIN, ...options, id: 0 });
  }

  verb(verb: Verb, request: Message, options: Partial<CallOptions> = {}): Promise<Answer> {
    return this.call(pathOf(verb), encodeRequest(verb, request), options);
  }

  /** Opens malformed HTTP/2 sessions; resolves when the last is over. */
  async sessions(sessions: Sessions): Promise<void> {
    await this.#order({ kind: "sessions", ...sessions, id: 0 });
  }

  /** Sends these bytes, and gives all that comes until the helper has had enough. */
  async exchange(message: Buffer): Promise<Buffer> {
    return Buffer.from((await this.#order({ kind: "exchange", message, id: 0 })).message);
  }

  /** Connects and goes away, again and again. */
  async connects(count: number): Promise<void> {
    await this.#order({ kind: "connects", count, id: 0 });
  }

  /** As {@link verb}, for those that answer item by item; throws when there is no such answer. */
  async items(verb: Verb, request: Message, client = 0): Promise<readonly OperationResult[]> {
    const { code, details, message } = await this.verb(verb, request, { client });
    if (code !== 0) throw new Error(`${verb} ended with status ${code}: ${details}`);
    return resultsOf(message);
  }

  #order(order: Order): Promise<Answer> {
    this.#orders += 1;
    const id = this.#orders;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, resolve);
      this.#child.send({ ...order, id }, (error) => error !== null && reject(error));
    });
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await new Promise((resolve) => this.#child.once("exit", resolve));
  }
}

export function pathOf(verb: string): string {
  return `/mnm.helper.v1.Helper/${verb}`;
}

/** All verbs that answer item by item do so in the same shape, and Perform begins with it. */
function resultsOf(message: Buffer): readonly OperationResult[] {
  return ApplyResponse.decode(message).results;
}
