import { getSystemErrorName } from "node:util";
import {
  AttrStream,
  formatMessage,
  getString,
  type NetlinkMessage,
  parseAttributes,
  parseMessages,
  type StreamData,
} from "netlink/dist/structs.js";
import { HelperError } from "./fault.js";
import { bind, connect, type Fd, openSocket, receive, send, setOption, u32 } from "./sys.js";

/**
 * A NETLINK_ROUTE socket that is used like a function: the kernel handles a request inside
 * send(2), so that its answer is there when send returns, and nothing has to wait.
 *
 * Not the socket of `netlink`, which cannot set NETLINK_EXT_ACK, so that the kernel's own words
 * would be lost, and is asynchronous, so that other requests could come between check and write.
 * What the kernel refuses is thrown as HelperError.
 */
export class RouteSocket {
  readonly #fd: Fd;
  // As large as the kernel's largest part of a dump.
  readonly #buffer = Buffer.alloc(64 * 1024);
  #sequence = 0;

  constructor() {
    this.#fd = openSocket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    const options = [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK];
    const results = [
      this.#fd,
      bind(this.#fd, KERNEL_ADDRESS),
      // Connected to the kernel: a message of another process never arrives.
      connect(this.#fd, KERNEL_ADDRESS),
      ...options.map((option) => setOption(this.#fd, SOL_NETLINK, option, u32(1))),
      // struct timeval of one second: the deadline of one operation.
      setOption(this.#fd, SOL_SOCKET, SO_RCVTIMEO, Buffer.from(new BigInt64Array([1n, 0n]).buffer)),
    ];
    const failed = results.find((result) => result < 0);
    // Without its socket the helper is of no use, so that this ends it.
    if (failed !== undefined) throw new Error(`No netlink socket: ${getSystemErrorName(failed)}`);
  }

  /** Makes a change. False when the kernel refuses it with the errno that the caller expects. */
  change(type: number, flags: number, payload: StreamData[], expected?: string): boolean {
    const done = unless(expected, () => this.#exchange(type, flags | NLM_F_ACK, payload));
    return done !== undefined;
  }

  /** The payload of one object. Undefined when the kernel refuses with the expected errno. */
  lookup(type: number, payload: StreamData[], expected: string): Buffer | undefined {
    return unless(expected, () => this.#exchange(type, 0, payload))?.[0]?.data;
  }

  /** The payloads of all objects, in the kernel's order and from one consistent state. */
  dump(type: number, payload: StreamData[]): readonly Buffer[] {
    for (let attempts = 0; attempts < DUMP_ATTEMPTS; attempts++) {
      const parts = this.#exchange(type, NLM_F_DUMP, payload);
      const isTorn = parts.some(({ flags }) => (flags & NLM_F_DUMP_INTR) !== 0);
      if (!isTorn) return parts.map(({ data }) => data);
    }
    throw kernelRefused(-EAGAIN, "The dump was interrupted again and again");
  }

  #exchange(type: number, flags: number, payload: StreamData[]): readonly NetlinkMessage[] {
    this.#sequence = (this.#sequence % 0x7fff_ffff) + 1;
    const seq = this.#sequence;
    const out = new AttrStream();
    for (const part of payload) out.emit(part);
    const message = { type, flags: flags | NLM_F_REQUEST, seq, port: 0, data: out.bufs };
    const sent = send(this.#fd, Buffer.concat(formatMessage(message)));
    if (sent < 0) throw kernelRefused(sent);
    const answers: NetlinkMessage[] = [];
    for (;;) {
      // Others are what is left of a request that ran into the deadline.
      for (const answer of this.#receive().filter((one) => one.seq === seq)) {
        const isEnd = answer.type === NLMSG_ERROR || answer.type === NLMSG_DONE;
        if (isEnd) throwRefusal(answer);
        else answers.push(answer);
        if (isEnd || (answer.flags & NLM_F_MULTI) === 0) return answers;
      }
    }
  }

  #receive(): readonly NetlinkMessage[] {
    const length = receive(this.#fd, this.#buffer);
    if (length < 0) throw kernelRefused(length);
    if (length > this.#buffer.length) throw kernelRefused(-EMSGSIZE);
    // A copy, since the caller keeps parts of it while the buffer is used again.
    return parseMessages(Buffer.from(this.#buffer.subarray(0, length)));
  }
}

/** What `run` gives; undefined when the kernel refuses it with that errno. */
function unless<T>(errno: string | undefined, run: () => T): T | undefined {
  try {
    return run();
  } catch (cause) {
    const fault = cause instanceof HelperError ? cause.fault : undefined;
    if (fault?.code === "kernel-refused" && fault.errno === errno) return undefined;
    throw cause;
  }
}

/** Reads NLMSG_ERROR, or NLMSG_DONE, whose first field is an error too; 0 is success. */
function throwRefusal({ type, flags, data }: NetlinkMessage): void {
  const error = data.readInt32LE(0);
  if (error >= 0) return;
  let text = "";
  if ((flags & NLM_F_ACK_TLVS) !== 0) {
    // NETLINK_CAP_ACK: of the request only the header is echoed, never its payload.
    parseAttributes(data.subarray(type === NLMSG_ERROR ? 20 : 4), (attribute) => {
      if (attribute.type === NLMSGERR_ATTR_MSG) text = getString(attribute.data);
    });
  }
  throw kernelRefused(error, text);
}

/** Attributes for a message, without those that have no value. */
export function attributes(
  list: readonly (readonly [type: number, data: StreamData | undefined])[],
): StreamData {
  return (out: AttrStream) => {
    for (const [type, data] of list) if (data !== undefined) out.push(type, data);
  };
}

/** What the kernel refused, from its negative errno. */
export function kernelRefused(result: number, kernelText = ""): HelperError {
  return new HelperError({ code: "kernel-refused", errno: getSystemErrorName(result), kernelText });
}

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
// struct sockaddr_nl with port 0 and no groups: the kernel as a peer, "any port" as our own.
const KERNEL_ADDRESS = Uint8Array.of(AF_NETLINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

const NLM_F_REQUEST = 0x1;
const NLM_F_MULTI = 0x2;
const NLM_F_ACK = 0x4;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_ACK_TLVS = 0x200;
const NLM_F_DUMP = 0x300;
/** Replace the object that is there. */
export const NLM_F_REPLACE = 0x100;
/** Create, and fail with EEXIST where there is one already. */
export const NLM_F_CREATE_EXCL = 0x600;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSGERR_ATTR_MSG = 1;
const EAGAIN = 11;
const EMSGSIZE = 90;
const DUMP_ATTEMPTS = 3;
