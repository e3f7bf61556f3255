import { lstatSync, unlinkSync } from "node:fs";
import net from "node:net";
import { err, ok, type Result } from "@mnm/proto/net";
import { Connection, type ConnectionDependencies } from "./connection.js";
import { log } from "./log.js";
import { type Peer, peerOf } from "./sys.js";

export interface HelperServerDependencies
  extends Pick<ConnectionDependencies, "context" | "hello"> {
  /** The only user who may connect; not even root may, unless it is root. */
  readonly peerUid: number;
}

/** Connections that have not said Hello yet. When there are more, the oldest goes. */
const MOST_UNPROVEN = 8;

/**
 * Accepts connections, and keeps one.
 *
 * The newest Hello wins: the older connection is served no more, and not only when it does not answer
 * a ping. Both are of one user, who could end the older one anyway; its library would answer a
 * ping even when the controller hangs; and a controller that was started again must never wait.
 */
export class HelperServer {
  readonly #server: net.Server;
  readonly #dependencies: HelperServerDependencies;
  readonly #unproven = new Set<Connection>();
  #live: Connection | undefined;

  constructor(dependencies: HelperServerDependencies) {
    this.#dependencies = dependencies;
    this.#server = net.createServer((socket) => this.#accept(socket));
  }

  /** Listens at a path, or on a descriptor that systemd passed on. */
  async listen(where: { path: string } | { fd: number }): Promise<Result<undefined, string>> {
    const occupied = "path" in where ? await freePath(where.path) : undefined;
    if (occupied !== undefined) return err(occupied);
    return await new Promise((resolve) => {
      this.#server.once("error", (cause) => resolve(err(cause.message)));
      // 0660 from the start; a chmod afterwards would leave a gap.
      // systemd's socket has its mode already, and its service no use of umask.
      const umask = "path" in where ? process.umask(0o117) : undefined;
      this.#server.listen(where, () => resolve(ok(undefined)));
      if (umask !== undefined) process.umask(umask);
    });
  }

  /** Ends all connections and removes the socket. */
  close(): void {
    this.#server.close();
    for (const connection of this.#unproven) connection.close("The helper stops");
    this.#live?.close("The helper stops");
  }

  // Runs before a byte of the connection is read.
  #accept(socket: net.Socket): void {
    const peer = peerAt(socket);
    if (peer?.uid !== this.#dependencies.peerUid) {
      log.warn("Connection of another user refused", { uid: peer?.uid });
      socket.destroy();
      return;
    }
    const [oldest] = this.#unproven;
    if (this.#unproven.size >= MOST_UNPROVEN) oldest?.close("Too many that say nothing");
    const onReady = (ready: Connection): void => {
      const replaced = this.#live;
      this.#unproven.delete(ready);
      this.#live = ready;
      log.info("Connection ready", { ...peer });
      replaced?.replace();
    };
    const onClosed = (closed: Connection): void => {
      this.#unproven.delete(closed);
      if (this.#live === closed) this.#live = undefined;
    };
    const dependencies = { ...this.#dependencies, peer, onReady, onClosed };
    this.#unproven.add(new Connection(socket, dependencies));
  }
}

/** Removes a socket that nobody serves; else what is at the path, as a sentence. */
async function freePath(path: string): Promise<string | undefined> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  if (!found.isSocket()) return `${path} exists and is no socket`;
  const answer = await new Promise<string | undefined>((resolve) => {
    const probe = net.connect({ path }, () => resolve("success"));
    probe.once("error", (cause) => resolve("code" in cause ? String(cause.code) : undefined));
    probe.once("connect", () => probe.destroy());
  });
  if (answer !== "ECONNREFUSED") return `Another program serves ${path}`;
  unlinkSync(path);
  return undefined;
}

/** Who is at the other end, by the descriptor, which Node keeps to itself. */
function peerAt(socket: net.Socket): Peer | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  const fd: unknown = handle instanceof Object ? Reflect.get(handle, "fd") : undefined;
  return typeof fd === "number" ? peerOf(fd) : undefined;
}
