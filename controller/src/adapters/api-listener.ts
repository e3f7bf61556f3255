import { chmodSync, renameSync, rmSync, statSync } from "node:fs";
import { createConnection, createServer, type Server, Socket } from "node:net";
import { BACKLOG, MOST_ACCEPTED_AT_ONCE } from "./api-limits.js";
import { acceptConnection, closeSocket } from "./sys.js";

/** Takes over a connection, or says that it is not wanted before anything was made for it. */
export type Welcome = (fd: number) => ((socket: Socket) => void) | undefined;

/** The socket in the file system, and the connections that come in by it. */
export class ApiListener {
  readonly #welcome: Welcome;
  #server: Server | undefined;
  #path: string | undefined;
  /** Of the socket that was put there. */
  #inode: bigint | undefined;

  constructor(dependencies: { readonly welcome: Welcome }) {
    this.#welcome = dependencies.welcome;
  }

  /** Listens; fails when another controller already does, or the path cannot be made. */
  async listen(path: string): Promise<void> {
    await refuseIfTaken(path);
    rmSync(`${path}.new`, { force: true });
    const server = createServer((socket) => this.#accept(socket, server));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ path: `${path}.new`, backlog: BACKLOG }, resolve);
    });
    // Anybody local may read; who may change things is decided by the peer's credentials.
    chmodSync(`${path}.new`, 0o666);
    this.#inode = inodeOf(`${path}.new`);
    // It appears at its place only now, when it answers everybody.
    renameSync(`${path}.new`, path);
    this.#path = path;
    this.#server = server;
  }

  /** Whether those who connect to the path come to us: anybody with the right may have removed it. */
  get isReachable(): boolean {
    const isListening = this.#server?.listening === true;
    return isListening && this.#path !== undefined && inodeOf(this.#path) === this.#inode;
  }

  close(): void {
    this.#server?.close();
    // Node removes the name that it listened on, which is not this one any more.
    if (this.#path !== undefined) rmSync(this.#path, { force: true });
  }

  /**
   * Node accepts one connection, makes everything for it that Node has, and looks at all else first
   * before it accepts the next: 50,000 a second at most, and an operator waits for its turn behind a
   * flood, or finds the queue full. So what else waits is taken from it here, four times as fast.
   */
  #accept(first: Socket, server: Server): void {
    const take = this.#welcome(fdOf(first));
    if (take === undefined) first.destroy();
    else take(first);
    for (let taken = 0; taken < MOST_ACCEPTED_AT_ONCE; taken += 1) {
      const fd = acceptConnection(fdOf(server));
      if (fd === undefined) return;
      const takeNext = this.#welcome(fd);
      if (takeNext === undefined) closeSocket(fd);
      else takeNext(new Socket({ fd }));
    }
  }
}

/** A socket that nobody listens on is left over from a kill; one that somebody does is not ours. */
async function refuseIfTaken(path: string): Promise<void> {
  const isTaken = await new Promise<boolean>((resolve) => {
    const probe = createConnection(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (isTaken) throw new Error(`another controller listens on ${path}`);
}

function inodeOf(path: string): bigint | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}

/** Node keeps the descriptor in the handle, and offers no other way to it. */
function fdOf(socket: Socket | Server): number {
  const { _handle: handle } = socket as (Socket | Server) & { _handle?: { readonly fd: number } };
  return handle?.fd ?? -1;
}
