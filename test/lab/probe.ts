import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { ispOf } from "./addressing.js";

/** What a socket is tied to before it sends; neither for an unbound one. */
export interface Bind {
  readonly address?: string;
  /** SO_BINDTODEVICE. */
  readonly device?: string;
}

/** The ISP that the far side saw, or why there was no answer: an errno name and the call. */
export type Whoami = number | "timeout" | { readonly error: string };

/** A datagram to 255.255.255.255 on one link. */
export interface Broadcast<Payload> {
  readonly device: string;
  readonly localPort: number;
  readonly port: number;
  /** As hex on the way to the probe. */
  readonly payload: Payload;
}

export type ProbeRequest = { readonly id: number; readonly timeoutMs: number } & (
  | { readonly kind: "whoami-udp"; readonly bind: Bind }
  | { readonly kind: "broadcast"; readonly broadcast: Broadcast<string> }
  | { readonly kind: "ping-start"; readonly bind: Bind; readonly intervalMs: number }
  | { readonly kind: "ping-stop"; readonly stream: number }
  | { readonly kind: "tcp-open"; readonly bind: Bind }
  | { readonly kind: "tcp-echo"; readonly connection: number; readonly text: string }
  | { readonly kind: "tcp-close"; readonly connection: number }
);

/** `line` is what the far side said; absent when the time ran out. */
export type ProbeAnswer =
  | { readonly id: number; readonly line: string | undefined }
  | { readonly id: number; readonly error: string };

type Query = ProbeRequest extends infer R
  ? R extends ProbeRequest
    ? Omit<R, "id">
    : never
  : never;

/** A process in a namespace that opens sockets there on request. */
export class Probe {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting = new Map<number, (answer: ProbeAnswer) => void>();
  #id = 0;

  constructor(inNamespace: readonly [string, ...string[]]) {
    const [file, ...args] = inNamespace;
    const script = fileURLToPath(new URL("./probe-server.js", import.meta.url));
    this.#child = spawn(file, [...args, process.execPath, script], {
      stdio: ["pipe", "pipe", "inherit"],
      detached: true,
    });
    this.#child.stdin.on("error", () => undefined);
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      const answer: ProbeAnswer = JSON.parse(line);
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    const ended = () => {
      for (const [id, resolve] of this.#waiting) resolve({ id, error: "The probe ended" });
      this.#waiting.clear();
    };
    this.#child.once("error", ended);
    this.#child.once("exit", ended);
  }

  async whoami(bind: Bind, timeoutMs = 1000): Promise<Whoami> {
    return whoamiOf((await this.#ask({ kind: "whoami-udp", bind, timeoutMs })).answer);
  }

  /** Sends a broadcast and gives the first datagram that comes to the same port; throws without one. */
  async broadcast(broadcast: Broadcast<Buffer>, timeoutMs = 2000): Promise<Buffer> {
    const hex = { ...broadcast, payload: broadcast.payload.toString("hex") };
    const { answer } = await this.#ask({ kind: "broadcast", broadcast: hex, timeoutMs });
    return Buffer.from(lineOf(answer, `a broadcast on ${hex.device}`), "hex");
  }

  /** Connects to the echo server. */
  async connect(bind: Bind, timeoutMs = 1000): Promise<TcpProbe> {
    const { id, answer } = await this.#ask({ kind: "tcp-open", bind, timeoutMs });
    const say = async (query: Query) => {
      const { answer } = await this.#ask(query);
      if ("error" in answer) throw new Error(answer.error);
      return answer.line;
    };
    return {
      isp: whoamiOf(answer),
      echo: (text) => say({ kind: "tcp-echo", connection: id, text, timeoutMs }),
      close: async () => {
        await say({ kind: "tcp-close", connection: id, timeoutMs });
      },
    };
  }

  /** Starts a stream of pings to 203.0.113.1; throws when its first answer does not come. */
  async ping(bind: Bind, intervalMs = 10, timeoutMs = 1000): Promise<PingStream> {
    const started = await this.#ask({ kind: "ping-start", bind, intervalMs, timeoutMs });
    lineOf(started.answer, "the first ping");
    return {
      stop: async () => {
        const query = { kind: "ping-stop", stream: started.id, timeoutMs } as const;
        return JSON.parse(lineOf((await this.#ask(query)).answer, "the count"));
      },
    };
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.stdin.end();
    await exit;
  }

  #ask(query: Query): Promise<{ readonly id: number; readonly answer: ProbeAnswer }> {
    this.#id += 1;
    const id = this.#id;
    return new Promise((resolve) => {
      this.#waiting.set(id, (answer) => resolve({ id, answer }));
      this.#child.stdin.write(`${JSON.stringify({ ...query, id })}\n`);
    });
  }
}

/** A TCP connection to 203.0.113.1 that a test holds. */
export interface TcpProbe {
  readonly isp: Whoami;
  /** Sends a line and gives the one that comes back; undefined when none came in time. */
  echo(text: string): Promise<string | undefined>;
  close(): Promise<void>;
}

export interface PingCount {
  readonly sent: number;
  readonly received: number;
  /** Not answered within half a second of the stream's end, or refused by the kernel. */
  readonly lost: number;
  /** The longest time between two answers. */
  readonly longestGapMs: number;
}

export interface PingStream {
  stop(): Promise<PingCount>;
}

function lineOf(answer: ProbeAnswer, what: string): string {
  if ("error" in answer) throw new Error(answer.error);
  if (answer.line === undefined) throw new Error(`No answer to ${what}`);
  return answer.line;
}

function whoamiOf(answer: ProbeAnswer): Whoami {
  if ("error" in answer) return { error: answer.error };
  if (answer.line === undefined) return "timeout";
  return ispOf(answer.line) ?? { error: `Seen as ${answer.line}, which is no ISP of the lab` };
}
