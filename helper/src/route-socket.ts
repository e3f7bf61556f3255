import {
  Attributes,
  Flags,
  FlagsAck,
  FlagsGet,
  FlagsNew,
  MessageType,
  Protocol,
} from "netlink/dist/constants.js";
import {
  AttrStream,
  formatMessage,
  getMap,
  getString,
  type NetlinkMessage,
  parseMessages,
  type StreamData,
} from "netlink/dist/structs.js";
import { HelperError, kernelRefused } from "./fault.js";
import * as sys from "./sys.js";

/**
 * A NETLINK_ROUTE socket that is used like a function: the kernel handles a request inside
 * send(2), so that its answer is there when send returns, and nothing has to wait.
 *
 * Not the socket of `netlink`, which cannot set NETLINK_EXT_ACK, so that the kernel's own words
 * would be lost, and is asynchronous, so that other requests could come between check and write.
 * What the kernel refuses is thrown as HelperError.
 */
export class RouteSocket {
  // Without its socket the helper is of no use, so that a refusal ends it.
  #fd = openRouteSocket();
  // As large as the kernel's largest part of a dump.
  readonly #buffer = Buffer.alloc(64 * 1024);
  #sequence = 0;

  /** Makes a change. False when the kernel refuses it with the errno that the caller expects. */
  change(type: number, flags: number, payload: StreamData[], expected?: string): boolean {
    const exchange = () => this.#exchange(type, flags | Flags.ACK, payload);
    return unless(expected, exchange) !== undefined;
  }

  /** The payload of one object. Undefined when the kernel refuses with the expected errno. */
  lookup(type: number, payload: StreamData[], expected: string): Buffer | undefined {
    return unless(expected, () => this.#exchange(type, 0, payload))?.[0]?.data;
  }

  /**
   * The payloads of all objects, in the kernel's order and from one consistent state; of no more
   * than up to the first that `isPast`, for a table may have a million routes.
   */
  dump(type: number, payload: StreamData[], isPast = never): readonly Buffer[] {
    for (let attempts = 0; attempts < DUMP_ATTEMPTS; attempts++) {
      const parts = this.#exchange(type, FlagsGet.DUMP, payload, isPast);
      const isTorn = parts.some(({ flags }) => (flags & Flags.DUMP_INTR) !== 0);
      if (!isTorn) return parts.map(({ data }) => data);
    }
    throw kernelRefused(-EAGAIN, "The dump was interrupted again and again");
  }

  #exchange(type: number, flags: number, payload: StreamData[], isPast = never) {
    this.#sequence = (this.#sequence % 0x7fff_ffff) + 1;
    const seq = this.#sequence;
    const out = new AttrStream();
    for (const part of payload) out.emit(part);
    const message = { type, flags: flags | Flags.REQUEST, seq, port: 0, data: out.bufs };
    sys.send(this.#fd, Buffer.concat(formatMessage(message)));
    const answers: NetlinkMessage[] = [];
    for (;;) {
      // Others are what is left of a request that ran into the deadline.
      for (const answer of this.#receive().filter((one) => one.seq === seq)) {
        const isEnd = answer.type === MessageType.ERROR || answer.type === MessageType.DONE;
        if (isEnd) throwRefusal(answer);
        else answers.push(answer);
        if (isEnd || (answer.flags & Flags.MULTI) === 0) return answers;
        if (!isPast(answer.data)) continue;
        // The rest of the listing goes with its socket.
        sys.closeLater(this.#fd);
        this.#fd = openRouteSocket();
        return answers;
      }
    }
  }

  #receive(): readonly NetlinkMessage[] {
    const length = sys.receive(this.#fd, this.#buffer);
    if (length < 0) throw kernelRefused(length);
    if (length > this.#buffer.length) throw kernelRefused(-EMSGSIZE);
    // A copy, since the caller keeps parts of it while the buffer is used again.
    return parseMessages(Buffer.from(this.#buffer.subarray(0, length)));
  }
}

const never = (_payload: Buffer): boolean => false;

function openRouteSocket(): sys.Fd {
  const fd = sys.openSocket(sys.AF_NETLINK, sys.SOCK_RAW, Protocol.ROUTE);
  sys.bind(fd, KERNEL_ADDRESS);
  // Connected to the kernel: a message of another process never arrives.
  sys.connect(fd, KERNEL_ADDRESS);
  for (const option of [Attributes.CAP_ACK, Attributes.EXT_ACK, Attributes.GET_STRICT_CHK]) {
    sys.setOption(fd, SOL_NETLINK, option, sys.u32(1));
  }
  // struct timeval of one second: the deadline of one operation.
  const second = Buffer.from(new BigInt64Array([1n, 0n]).buffer);
  sys.setOption(fd, sys.SOL_SOCKET, SO_RCVTIMEO, second);
  return fd;
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
  // NETLINK_CAP_ACK: of the request only the header is echoed, never its payload.
  const isError = type === MessageType.ERROR;
  const hasText = (flags & FlagsAck.ACK_TLVS) !== 0;
  const attributes = hasText ? data.subarray(isError ? 20 : 4) : Buffer.alloc(0);
  const text = getMap(attributes, (value) => value).get(NLMSGERR_ATTR_MSG);
  throw kernelRefused(error, text === undefined ? "" : getString(text));
}

/** An attribute that `netlink` does not know. */
export function attribute(type: number, data: StreamData): StreamData {
  return (out: AttrStream) => out.push(type, data);
}

/** Create, and fail with EEXIST where there is one already. */
export const CREATE_EXCL: number = FlagsNew.CREATE | FlagsNew.EXCL;
/** Replace the object that is there. */
export const REPLACE: number = FlagsNew.REPLACE;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
// struct sockaddr_nl with port 0 and no groups: the kernel as a peer, "any port" as our own.
const KERNEL_ADDRESS = Uint8Array.of(sys.AF_NETLINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
const NLMSGERR_ATTR_MSG = 1;
const EAGAIN = 11;
const EMSGSIZE = 90;
const DUMP_ATTEMPTS = 3;
