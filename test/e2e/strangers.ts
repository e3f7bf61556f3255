import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** What a stranger is told to do. */
export type Deed =
  /** Of so many users in turn; more than one needs a stranger that is root. */
  | {
      readonly kind: "connects";
      readonly path: string;
      readonly seconds: number;
      readonly uids: number;
    }
  | {
      readonly kind: "malformed";
      readonly path: string;
      readonly count: number;
      readonly seconds: number;
      readonly seed: number;
    }
  | {
      readonly kind: "assault";
      readonly path: string;
      readonly sessions: number;
      readonly seconds: number;
      readonly seed: number;
    }
  | {
      readonly kind: "flood";
      readonly path: string;
      readonly name: string;
      readonly width: number;
      readonly seconds: number;
    }
  | {
      readonly kind: "keep";
      readonly path: string;
      readonly width: number;
    }
  | { readonly kind: "watch-kept" };

export interface Done {
  readonly count: number;
  /** The kernel's queue was full, or the connection was reset. */
  readonly refused: number;
  readonly seconds: number;
}

/** A process of another user. */
export class Stranger implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #gone: Promise<unknown>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#gone = once(child, "exit");
  }

  static async start(uid: number): Promise<Stranger> {
    const script = fileURLToPath(new URL("./stranger.js", import.meta.url));
    const child = fork(script, [String(uid)], { execArgv: [] });
    await once(child, "message");
    return new Stranger(child);
  }

  async do(deed: Deed): Promise<Done> {
    this.#child.send(deed);
    const answered = new Promise<Done>((resolve) => this.#child.once("message", resolve));
    const done = await Promise.race([answered, this.#gone.then(() => undefined)]);
    if (done === undefined) throw new Error(`The stranger ended while it did ${deed.kind}`);
    return done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#gone;
  }
}
