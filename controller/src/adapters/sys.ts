// The controller's only importer of koffi: the few libc calls that Node does not offer. Constants
// are those of x86-64 and arm64.
import { getSystemErrorName } from "node:util";
import { err, type Instant, instantFromMs, ok, type Result } from "@mnm/proto/net";
import koffi from "koffi";

/** A refused system call. */
export interface SystemFault {
  /** Name of the errno, `EPERM`. */
  readonly code: string;
  /** Name of the call. */
  readonly call: string;
}

/** Who opened the other end of a unix socket, as it was at connect(2). */
export interface PeerCredentials {
  /** 0 for a process in a PID namespace that is none of ours. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** `struct sock_filter`, linux/filter.h: classic BPF. */
export interface FilterInstruction {
  readonly code: number;
  readonly jumpTrue: number;
  readonly jumpFalse: number;
  readonly k: number;
}

const SIZEOF_LONG = koffi.sizeof("long");
if (SIZEOF_LONG !== 8) throw new Error("MNM runs on 64-bit machines only");

koffi.struct("sock_fprog", { len: "uint16_t", filter: "void *" });

// Loading "the program itself" reaches libc without a file name, so it suits musl as well.
const library = koffi.load(null);
const libc: {
  readonly clockGettime: (clock: number, time: Uint8Array) => number;
  readonly timerfdCreate: (clock: number, flags: number) => number;
  readonly timerfdSettime: (fd: number, flags: number, value: Uint8Array, old: null) => number;
  readonly read: (fd: number, bytes: Uint8Array, length: number) => number;
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly close: (fd: number) => number;
  readonly send: (fd: number, bytes: Uint8Array, length: number, flags: number) => number;
  readonly sendto: (...args: [...Parameters<typeof libc.send>, Uint8Array, number]) => number;
  readonly recvfrom: (...args: [...Parameters<typeof libc.send>, Uint8Array, Uint8Array]) => number;
  readonly getsockname: (fd: number, address: Uint8Array, length: Uint8Array) => number;
  readonly getsockopt: (...args: [...SocketOption, Uint8Array, Uint8Array]) => number;
  readonly setsockopt: (...args: [...SocketOption, Uint8Array, number]) => number;
  readonly setFilter: (...args: [...SocketOption, FilterProgram, number]) => number;
  readonly accept4: (fd: number, address: null, length: null, flags: number) => number;
  readonly socketpair: (domain: number, type: number, protocol: number, fds: Uint8Array) => number;
} = {
  clockGettime: library.func("int clock_gettime(int clock, void *time)"),
  timerfdCreate: library.func("int timerfd_create(int clock, int flags)"),
  timerfdSettime: library.func("int timerfd_settime(int fd, int flags, void *value, void *old)"),
  read: library.func("long read(int fd, void *bytes, size_t length)"),
  socket: library.func("int socket(int domain, int type, int protocol)"),
  close: library.func("int close(int fd)"),
  send: library.func("long send(int fd, void *bytes, size_t length, int flags)"),
  sendto: library.func(
    "long sendto(int fd, void *bytes, size_t length, int flags, void *to, uint32_t toLength)",
  ),
  recvfrom: library.func(
    "long recvfrom(int fd, void *bytes, size_t length, int flags, void *from, void *fromLength)",
  ),
  getsockname: library.func("int getsockname(int fd, void *address, void *length)"),
  getsockopt: library.func(
    "int getsockopt(int fd, int level, int name, void *value, void *length)",
  ),
  setsockopt: library.func(
    "int setsockopt(int fd, int level, int name, void *value, uint32_t length)",
  ),
  setFilter: library.func(
    "int setsockopt(int fd, int level, int name, sock_fprog *value, uint32_t length)",
  ),
  accept4: library.func("int accept4(int fd, void *address, void *length, int flags)"),
  socketpair: library.func("int socketpair(int domain, int type, int protocol, void *fds)"),
};

type SocketOption = [fd: number, level: number, name: number];
interface FilterProgram {
  readonly len: number;
  readonly filter: Uint8Array;
}

const CLOCK_REALTIME = 0;
const CLOCK_MONOTONIC = 1;
const CLOCK_BOOTTIME = 7;
const time = Buffer.alloc(16);

/** Now, in whole milliseconds: an `Instant` travels as an integer and reads better as one. */
export function bootClockMs(): Instant {
  return instantFromMs(clockMs(CLOCK_BOOTTIME));
}

/** How long the host has been suspended since it booted: what only one of the two clocks counts. */
export function suspendedMs(): number {
  return clockMs(CLOCK_BOOTTIME) - clockMs(CLOCK_MONOTONIC);
}

function clockMs(clock: number): number {
  libc.clockGettime(clock, time);
  const seconds = Number(time.readBigInt64LE(0));
  return seconds * 1000 + Math.floor(Number(time.readBigInt64LE(8)) / 1e6);
}

const TFD_FLAGS = 0o2004000; // TFD_CLOEXEC, TFD_NONBLOCK
const TFD_TIMER_ABSTIME = 1;
const TFD_TIMER_CANCEL_ON_SET = 2;
/** The year 2255. Should the clock ever be set past it, that is one call of the listener more. */
const FAR_SEC = 9_000_000_000n;

/**
 * Calls back whenever the wall clock was set, and after each resume, which sets it too (fs/timerfd.c,
 * timerfd_resume). Costs no wake-up otherwise, and does not keep the process alive.
 */
export function watchWallClock(onSet: () => void): Result<{ close(): void }, SystemFault> {
  const fd = libc.timerfdCreate(CLOCK_REALTIME, TFD_FLAGS);
  if (fd < 0) return refused("timerfd_create");
  // `struct itimerspec`: no interval, then the time.
  const value = Buffer.alloc(32);
  value.writeBigInt64LE(FAR_SEC, 16);
  const flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
  if (libc.timerfdSettime(fd, flags, value, null) < 0) {
    const fault = refused("timerfd_settime");
    libc.close(fd);
    return fault;
  }
  const expirations = Buffer.alloc(8);
  let isClosed = false;
  // By setImmediate(), because koffi calls outside of a Node callback, after which no microtask
  // would run.
  const handle = koffi.node.poll(fd, { readable: true }, () => {
    setImmediate(() => {
      if (isClosed) return;
      // Its answer, ECANCELED, says no more than that it could be read; unread, it would call again
      // at once. The kernel goes on watching (timerfd_canceled).
      libc.read(fd, expirations, expirations.length);
      onSet();
    });
  });
  handle.unref();
  const close = (): void => {
    if (isClosed) return;
    isClosed = true;
    handle.close();
    libc.close(fd);
  };
  return ok({ close });
}

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
const NO_ID = 0xffff_ffff;

/** Undefined when `fd` is no connected unix socket, so also when it was closed just now. */
export function peerCredentials(fd: number): PeerCredentials | undefined {
  const value = socketOption(fd, SOL_SOCKET, SO_PEERCRED, Buffer.alloc(12));
  if (value?.length !== 12) return undefined;
  // A socket that nobody connected to answers pid 0 and the ids -1. The pid alone is 0 when we cannot
  // see the peer: we are in a container, and it is not.
  const uid = value.readUInt32LE(4);
  if (uid === NO_ID) return undefined;
  return { pid: value.readInt32LE(0), uid, gid: value.readUInt32LE(8) };
}

/** The supplementary groups of the peer, at connect(2); undefined as for {@link peerCredentials}. */
export function peerGroups(fd: number): readonly number[] | undefined {
  // The kernel's limit is 65,536 groups (NGROUPS_MAX); nearly everybody has fewer than 64.
  const value =
    socketOption(fd, SOL_SOCKET, SO_PEERGROUPS, Buffer.alloc(64 * 4)) ??
    socketOption(fd, SOL_SOCKET, SO_PEERGROUPS, Buffer.alloc(65_536 * 4));
  if (value === undefined) return undefined;
  return Array.from({ length: value.length / 4 }, (_, index) => value.readUInt32LE(index * 4));
}

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const SOCK_STREAM = 1;

/** The next connection that waits at a listening socket; undefined when there is none. */
export function acceptConnection(fd: number): number | undefined {
  const accepted = libc.accept4(fd, null, null, SOCK_CLOEXEC);
  return accepted < 0 ? undefined : accepted;
}

/** Two unix stream sockets that are connected to each other. */
export function connectedPair(): Result<readonly [number, number], SystemFault> {
  const fds = Buffer.alloc(8);
  if (libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return refused("socketpair");
  return ok([fds.readInt32LE(0), fds.readInt32LE(4)]);
}

/**
 * Tells the service manager, sd_notify(3): `READY=1`. True when it was told; false when none asked
 * to be (no NOTIFY_SOCKET) or it is not listening. Like systemd's own function it waits while the
 * manager's queue is full, because a lost `READY=1` would fail the start of the service.
 */
export function notify(message: string, path = process.env["NOTIFY_SOCKET"]): boolean {
  const address = unixAddress(path ?? "");
  if (address === undefined) return false;
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bytes = Buffer.from(message);
  const sent = libc.sendto(fd, bytes, bytes.length, MSG_NOSIGNAL, address, address.length);
  libc.close(fd);
  return sent === bytes.length;
}

/** `struct sockaddr_un`. A leading `@` stands for the NUL of an abstract address. */
function unixAddress(path: string): Buffer | undefined {
  if (!path.startsWith("/") && !path.startsWith("@")) return undefined;
  const name = Buffer.from(path.startsWith("@") ? `\0${path.slice(1)}` : `${path}\0`);
  if (name.length > 108) return undefined;
  const family = Buffer.alloc(2);
  family.writeUInt16LE(AF_UNIX);
  return Buffer.concat([family, name]);
}

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
const SO_PROTOCOL = 38;
const SO_ATTACH_FILTER = 26;
const SO_MEMINFO = 55;
const NETLINK_NO_ENOBUFS = 5;

/** Sender's address, `struct sockaddr_nl`, and its length: room that is used again and again. */
const sender = Buffer.alloc(12);
const senderLength = Buffer.alloc(4);

/** A rtnetlink socket for requests, on which the kernel obeys the filters of a dump. */
export function openRouteSocket(): Result<number, SystemFault> {
  const fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return refused("socket");
  const one = Buffer.from([1, 0, 0, 0]);
  if (libc.setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, one, one.length) === 0)
    return ok(fd);
  const fault = refused("setsockopt");
  libc.close(fd);
  return fault;
}

export function closeSocket(fd: number): void {
  libc.close(fd);
}

/** Sends a request to the kernel, which answers within this call: its reply is there to be read. */
export function sendToKernel(fd: number, request: Uint8Array): Result<number, SystemFault> {
  const sent = libc.send(fd, request, request.length, MSG_NOSIGNAL);
  return sent < 0 ? refused("send") : ok(sent);
}

export interface ReceivedDatagram {
  /** What it had; more than the buffer's when it was cut off. */
  readonly length: number;
  /** Netlink port; 0 is the kernel. */
  readonly senderPort: number;
}

/** Reads one datagram, and never waits for one: `EAGAIN`. */
export function receiveFromKernel(
  fd: number,
  buffer: Uint8Array,
): Result<ReceivedDatagram, SystemFault> {
  senderLength.writeUInt32LE(sender.length);
  const flags = MSG_DONTWAIT | MSG_TRUNC;
  const length = libc.recvfrom(fd, buffer, buffer.length, flags, sender, senderLength);
  return length < 0 ? refused("recvfrom") : ok({ length, senderPort: sender.readUInt32LE(4) });
}

/**
 * The descriptor of this process' rtnetlink socket that is bound to `port`. No two sockets of one
 * network namespace and protocol share a port, so what is found is the socket that is meant.
 */
export function routeSocketOfPort(port: number): number | undefined {
  for (let fd = 0; fd < 65_536; fd++) {
    senderLength.writeUInt32LE(sender.length);
    const found =
      libc.getsockname(fd, sender, senderLength) === 0 &&
      sender.readUInt16LE(0) === AF_NETLINK &&
      sender.readUInt32LE(4) === port &&
      socketOption(fd, SOL_SOCKET, SO_PROTOCOL, Buffer.alloc(4))?.readInt32LE(0) === NETLINK_ROUTE;
    if (found) return fd;
  }
  return undefined;
}

/**
 * Makes a netlink socket lose notifications without the error ENOBUFS; {@link droppedDatagrams} tells
 * instead.
 */
export function withoutOverrunErrors(fd: number): Result<undefined, SystemFault> {
  const one = Buffer.from([1, 0, 0, 0]);
  const result = libc.setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, one, one.length);
  return result < 0 ? refused("setsockopt") : ok(undefined);
}

/** How many datagrams a socket has lost so far for want of room, modulo 2^32. */
export function droppedDatagrams(fd: number): number {
  // SK_MEMINFO_DROPS is the ninth of the values, linux/sock_diag.h.
  const meminfo = socketOption(fd, SOL_SOCKET, SO_MEMINFO, Buffer.alloc(36));
  return meminfo?.length === 36 ? meminfo.readUInt32LE(32) : 0;
}

/** Lets a socket take only the datagrams that the program accepts; needs no privilege. */
export function attachFilter(
  fd: number,
  program: readonly FilterInstruction[],
): Result<undefined, SystemFault> {
  const filter = Buffer.alloc(program.length * 8);
  for (const [index, { code, jumpTrue, jumpFalse, k }] of program.entries()) {
    filter.writeUInt16LE(code, index * 8);
    filter.writeUInt8(jumpTrue, index * 8 + 2);
    filter.writeUInt8(jumpFalse, index * 8 + 3);
    filter.writeUInt32LE(k, index * 8 + 4);
  }
  const value = { len: program.length, filter };
  const result = libc.setFilter(fd, SOL_SOCKET, SO_ATTACH_FILTER, value, 16);
  return result < 0 ? refused("setsockopt") : ok(undefined);
}

function socketOption(fd: number, level: number, name: number, room: Buffer): Buffer | undefined {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(room.length);
  if (libc.getsockopt(fd, level, name, room, length) < 0) return undefined;
  return room.subarray(0, length.readUInt32LE(0));
}

function refused(call: string): Result<never, SystemFault> {
  return err({ code: getSystemErrorName(-koffi.errno()), call });
}
