// Runs in a namespace and opens sockets there on request: JSON lines in, JSON lines out, many
// queries at once. Node has no call for SO_BINDTODEVICE, so sockets are made by libc
// and handed to Node by descriptor.
import { createSocket } from "node:dgram";
import { Socket } from "node:net";
import { createInterface } from "node:readline";
import { getSystemErrorName } from "node:util";
import koffi from "koffi";
import { SERVER, TCP_PORT, UDP_PORT } from "./addressing.js";
import { PingSender } from "./ping-stream.js";
import type { Bind, Broadcast, ProbeAnswer, ProbeRequest } from "./probe.js";

const libc = koffi.load("libc.so.6");
const sysSocket = libc.func("int socket(int domain, int type, int protocol)");
const sysBind = libc.func("int bind(int fd, const uint8_t *address, uint32_t length)");
const sysConnect = libc.func("int connect(int fd, const uint8_t *address, uint32_t length)");
const sysSetsockopt = libc.func(
  "int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)",
);
const sysClose = libc.func("int close(int fd)");

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const IPPROTO_ICMP = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDTIMEO = 21;
const SO_BINDTODEVICE = 25;

class SocketError extends Error {
  override readonly name = "SocketError";
}

/** Throws the errno's name, as in `EADDRNOTAVAIL (bind)`. Asked at once: the next call changes it. */
function check(call: string, returned: unknown): number {
  if (typeof returned === "number" && returned >= 0) return returned;
  throw new SocketError(`${getSystemErrorName(-koffi.errno())} (${call})`);
}

function sockaddr(address: string, port: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(address.split(".").map(Number), 4);
  return bytes;
}

interface SocketOptions extends Bind {
  readonly protocol?: number;
  readonly localPort?: number;
}

/** A socket with the given binding; the caller owns the descriptor. */
function openSocket(type: number, options: SocketOptions): number {
  const { address, device, protocol = 0, localPort = 0 } = options;
  const fd = check("socket", sysSocket(AF_INET, type | SOCK_CLOEXEC, protocol));
  try {
    if (device !== undefined) {
      const name = Buffer.from(`${device}\0`);
      check("bind to device", sysSetsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, name.length));
    }
    // Always bound, or Node would bind the datagram socket itself, to the IPv6 wildcard.
    check("bind", sysBind(fd, sockaddr(address ?? "0.0.0.0", localPort), 16));
    return fd;
  } catch (error) {
    sysClose(fd);
    throw error;
  }
}

interface Question {
  readonly payload: Buffer;
  readonly port: number;
  readonly to: string;
  readonly timeoutMs: number;
}

/** Asks over a datagram socket, which it closes, and gives the first answer. */
function exchange(fd: number, question: Question): Promise<Buffer | undefined> {
  const { payload, port, to, timeoutMs } = question;
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    const send = () => socket.send(payload, port, to, (error) => error && finish(error));
    // The first packet may die in neighbour resolution; three tries within the time given.
    const again = setInterval(send, timeoutMs / 3);
    const end = setTimeout(() => finish(undefined), timeoutMs);
    const finish = (outcome: Error | Buffer | undefined) => {
      clearInterval(again);
      clearTimeout(end);
      socket.removeAllListeners();
      socket.on("error", () => undefined);
      socket.close();
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    socket.on("error", finish);
    socket.on("message", finish);
    socket.bind({ fd }, () => {
      socket.setBroadcast(true);
      send();
    });
  });
}

async function whoamiUdp(bind: Bind, timeoutMs: number): Promise<string | undefined> {
  const question = { payload: Buffer.from("?"), port: UDP_PORT, to: SERVER, timeoutMs };
  const answer = await exchange(openSocket(SOCK_DGRAM, bind), question);
  return answer?.toString().split(" ")[0];
}

async function broadcast(ask: Broadcast<string>, timeoutMs: number): Promise<string | undefined> {
  const payload = Buffer.from(ask.payload, "hex");
  const fd = openSocket(SOCK_DGRAM, { device: ask.device, localPort: ask.localPort });
  const answer = await exchange(fd, { payload, port: ask.port, to: "255.255.255.255", timeoutMs });
  return answer?.toString("hex");
}

/** A connection and the lines that it has received but nobody has asked for. */
class Line {
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;

  constructor(bind: Bind, timeoutMs: number) {
    const fd = openSocket(SOCK_STREAM, bind);
    try {
      // struct timeval; it also bounds connect(). Connecting blocks this process, which is
      // simple and takes microseconds unless the path is dead.
      const timeout = Buffer.alloc(16);
      timeout.writeBigInt64LE(BigInt(Math.floor(timeoutMs / 1000)), 0);
      timeout.writeBigInt64LE(BigInt((timeoutMs % 1000) * 1000), 8);
      check("timeout", sysSetsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, timeout, 16));
      check("connect", sysConnect(fd, sockaddr(SERVER, TCP_PORT), 16));
    } catch (error) {
      sysClose(fd);
      throw error;
    }
    this.#socket = new Socket({ fd, readable: true, writable: true });
    this.#socket.on("error", () => undefined);
    this.#lines = createInterface({ input: this.#socket })[Symbol.asyncIterator]();
  }

  async next(timeoutMs: number): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), timeoutMs);
    });
    const line = this.#lines.next().then((result) => {
      if (result.done === true) throw new SocketError("ECONNRESET (read)");
      return result.value;
    });
    line.catch(() => undefined);
    try {
      return await Promise.race([line, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async echo(text: string, timeoutMs: number): Promise<string | undefined> {
    this.#socket.write(`${text}\n`);
    return await this.next(timeoutMs);
  }

  close(): void {
    this.#socket.destroy();
  }
}

const streams = new Map<number, PingSender>();
const connections = new Map<number, Line>();

async function answer(request: ProbeRequest): Promise<string | undefined> {
  switch (request.kind) {
    case "whoami-udp":
      return await whoamiUdp(request.bind, request.timeoutMs);
    case "broadcast":
      return await broadcast(request.broadcast, request.timeoutMs);
    case "ping-start": {
      const fd = openSocket(SOCK_DGRAM, { ...request.bind, protocol: IPPROTO_ICMP });
      const stream = new PingSender({ fd, to: SERVER, intervalMs: request.intervalMs });
      streams.set(request.id, stream);
      return (await stream.started(request.timeoutMs)) ? "" : undefined;
    }
    case "ping-stop": {
      const count = await streams.get(request.stream)?.stop();
      streams.delete(request.stream);
      return JSON.stringify(count);
    }
    case "tcp-open": {
      const line = new Line(request.bind, request.timeoutMs);
      connections.set(request.id, line);
      return await line.next(request.timeoutMs);
    }
    case "tcp-echo":
      return await connections.get(request.connection)?.echo(request.text, request.timeoutMs);
    case "tcp-close":
      connections.get(request.connection)?.close();
      connections.delete(request.connection);
      return "";
  }
}

function write(reply: ProbeAnswer): void {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

/** `ENETUNREACH` from Node's own errors too, so that both kinds read alike. */
function sayError(error: unknown): string {
  if (error instanceof SocketError) return error.message;
  if (error instanceof Error && "code" in error) return String(error.code);
  return String(error);
}

for await (const text of createInterface({ input: process.stdin })) {
  const request: ProbeRequest = JSON.parse(text);
  void Promise.resolve()
    .then(() => answer(request))
    .then(
      (line) => write({ id: request.id, line }),
      (error: unknown) => write({ id: request.id, error: sayError(error) }),
    );
}
process.exit(0);
