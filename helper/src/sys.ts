/**
 * The kernel's calls that Node does not offer. The only file that knows koffi: a dozen fixed
 * prototypes of libc. What the kernel refuses is thrown as HelperError.
 */
import { type Ipv4, ipv4ToBytes } from "@mnm/proto/net";
import koffi from "koffi";
import { kernelRefused } from "./fault.js";

const libc = koffi.load(null);
koffi.struct("iovec", { iov_base: "void *", iov_len: "size_t" });
koffi.struct("msghdr", {
  msg_name: "void *",
  msg_namelen: "uint32_t",
  msg_iov: "iovec *",
  msg_iovlen: "size_t",
  msg_control: "void *",
  msg_controllen: "size_t",
  msg_flags: "int",
});
const SOCK_FPROG = koffi.struct("sock_fprog", { len: "uint16_t", filter: "const void *" });

const c = {
  socket: libc.func("int socket(int, int, int)"),
  bind: libc.func("int bind(int, const void *, uint32_t)"),
  connect: libc.func("int connect(int, const void *, uint32_t)"),
  getsockname: libc.func("int getsockname(int, void *, _Inout_ uint32_t *)"),
  getsockopt: libc.func("int getsockopt(int, int, int, void *, _Inout_ uint32_t *)"),
  setsockopt: libc.func("int setsockopt(int, int, int, const void *, uint32_t)"),
  setFilter: libc.func("setsockopt", "int", ["int", "int", "int", "sock_fprog *", "uint32_t"]),
  sendto: libc.func("long sendto(int, const void *, size_t, int, const void *, uint32_t)"),
  recvmsg: libc.func("long recvmsg(int, _Inout_ msghdr *, int)"),
  close: libc.func("int close(int)"),
};

export type Fd = number;

export function openSocket(family: number, type: number, protocol: number): Fd {
  return checked(c.socket(family, type | SOCK_CLOEXEC, protocol));
}

export function bind(fd: Fd, address: Uint8Array): void {
  checked(c.bind(fd, address, address.length));
}

export function connect(fd: Fd, address: Uint8Array): void {
  checked(c.connect(fd, address, address.length));
}

/** The address that a socket is bound to; zeros when it is to none. */
export function boundAddress(fd: Fd): Buffer {
  const address = Buffer.alloc(128);
  c.getsockname(fd, address, [address.length]);
  return address;
}

export function setOption(fd: Fd, level: number, option: number, value: Uint8Array): void {
  checked(c.setsockopt(fd, level, option, value, value.length));
}

/** Attaches a classic BPF program of eight bytes an instruction, for good. */
export function lockFilter(fd: Fd, filter: Uint8Array): void {
  const program = { len: filter.length / 8, filter };
  const size = koffi.sizeof(SOCK_FPROG);
  checked(c.setFilter(fd, SOL_SOCKET, SO_ATTACH_FILTER, program, size));
  setOption(fd, SOL_SOCKET, SO_LOCK_FILTER, u32(1));
}

/** The process at the other end of a unix socket, as it was when it connected. */
export interface Peer {
  readonly uid: number;
  readonly pid: number;
}

export function peerOf(fd: Fd): Peer | undefined {
  const ucred = Buffer.alloc(12);
  const result = c.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred, [ucred.length]);
  if (result < 0) return undefined;
  return { uid: ucred.readUInt32LE(4), pid: ucred.readInt32LE(0) };
}

/** Sends without waiting; to `address`, or where the socket is connected to. */
export function send(fd: Fd, bytes: Uint8Array, address?: Uint8Array): void {
  const to = address ?? null;
  checked(c.sendto(fd, bytes, bytes.length, MSG_DONTWAIT, to, to?.length ?? 0));
}

/**
 * Waits as SO_RCVTIMEO says, and not at all on a socket of {@link SOCK_NONBLOCK}. More than
 * `buffer` holds comes back as the true length, and failure as a negative errno, since that
 * there is nothing is none. In `control` is what the kernel adds.
 */
export function receive(fd: Fd, buffer: Uint8Array, control = new Uint8Array(0)): number {
  const message = {
    msg_iov: [{ iov_base: buffer, iov_len: buffer.length }],
    msg_iovlen: 1,
    msg_control: control,
    msg_controllen: control.length,
  };
  const length = c.recvmsg(fd, message, MSG_TRUNC);
  return length < 0 ? -koffi.errno() : length;
}

/**
 * Closes in other threads: a packet socket makes close(2) wait 8 ms for readers. Not too many at
 * once, because koffi throws where more than 256 calls are under way.
 */
export function closeLater(...fds: readonly Fd[]): void {
  waiting.push(...fds);
  while (waiting.length > 0 && underWay < 64) {
    underWay += 1;
    c.close.async(waiting.shift(), () => {
      underWay -= 1;
      closeLater();
    });
  }
}

const waiting: Fd[] = [];
let underWay = 0;

/**
 * Calls back when there is something to read, from Node's own event loop: libuv's uv_poll_t, which
 * koffi offers. (The alternative, epoll_wait() in a thread of its own, takes more code and time.)
 */
export function watchReadable(fd: Fd, onReadable: () => void): { close(): void } {
  const options = { readable: true };
  let isClosed = false;
  // The first argument is libuv's status, whatever the types of koffi say. By setImmediate(),
  // because koffi calls outside of a Node callback, after which no microtask would run.
  const listener = (status: unknown): void => {
    setImmediate(() => {
      if (!isClosed) onReadable();
      // At an error libuv stops watching. It is read by now, and the socket may still be of use:
      // a packet socket has ENETDOWN when its link goes down, and goes on when that comes up.
      if (!isClosed && Number(status) < 0) handle.start(options, listener);
    });
  };
  const handle = koffi.node.poll(fd, options, listener);
  return {
    close: () => {
      isClosed = true;
      handle.close();
    },
  };
}

/** struct sockaddr_ll: a station on that link, or all of them; `protocol` is ETH_P_*. */
export function linkAddress(ifindex: number, protocol: number, station = BROADCAST): Uint8Array {
  const head = [AF_PACKET, 0, protocol >> 8, protocol & 0xff, ...u32(ifindex), 0, 0, 0, 6];
  return Uint8Array.from([...head, ...station, 0, 0]);
}

/** struct sockaddr_in without a port. */
export function internetAddress(to: Ipv4): Uint8Array {
  return Uint8Array.from([AF_INET, 0, 0, 0, ...ipv4ToBytes(to), 0, 0, 0, 0, 0, 0, 0, 0]);
}

/** Bytes of a number as this machine has it; koffi and `netlink` know little-endian ones only. */
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function checked(result: number): number {
  if (result < 0) throw kernelRefused(-koffi.errno());
  return result;
}

const BROADCAST: Uint8Array = Buffer.alloc(6, 0xff);
export const AF_INET = 2;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_ATTACH_FILTER = 26;
const SO_LOCK_FILTER = 44;
const SOCK_CLOEXEC = 0o2000000;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
