// Netlink's framing: messages in a datagram, attributes in a message (linux/netlink.h). In host
// order; this reads little-endian only, like the prebuilt native parts that we ship with.
import { err, type Ipv4, ipv4FromBytes, ok, type Result } from "@mnm/proto/net";

/** One message of a datagram, without its header. The payload is a view of the datagram. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** nlmsg_pid: the port that a notification goes back to; 0 is the kernel. */
  readonly port: number;
  readonly payload: Buffer;
}

export interface DecodeFault {
  readonly code: "malformed";
  /** From a small set, so that it can be counted: names the object and the attribute. */
  readonly reason: string;
}

/** NLMSG_* and NLM_F_*, linux/netlink.h. */
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLM_F_REQUEST = 0x1;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
/** Of a notification of a new route: it has taken the place of another one. */
export const NLM_F_REPLACE = 0x100;

/** rtnetlink(7). RTM_DEL* is RTM_NEW* + 1, RTM_GET* is RTM_NEW* + 2. */
export const RTM = {
  newLink: 16,
  newAddress: 20,
  newRoute: 24,
  newRule: 32,
  newNetconf: 80,
} as const;

export const AF_INET = 2;

/** What rtm_table says for every table above 255, linux/rtnetlink.h. */
export const RT_TABLE_COMPAT = 252;

const HEADER_LENGTH = 16;

export function splitMessages(datagram: Buffer): Result<readonly NetlinkMessage[], DecodeFault> {
  const messages: NetlinkMessage[] = [];
  let at = 0;
  while (at < datagram.length) {
    const length = datagram.length - at < HEADER_LENGTH ? 0 : datagram.readUInt32LE(at);
    if (length < HEADER_LENGTH || length > datagram.length - at) return malformed("message length");
    messages.push({
      type: datagram.readUInt16LE(at + 4),
      flags: datagram.readUInt16LE(at + 6),
      sequence: datagram.readUInt32LE(at + 8),
      port: datagram.readUInt32LE(at + 12),
      payload: datagram.subarray(at + HEADER_LENGTH, at + length),
    });
    at += align(length);
  }
  return ok(messages);
}

export interface RequestHeader {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
}

/** A request to the kernel, of the fixed structure and what attributes it takes. */
export function encodeRequest(
  { type, flags, sequence }: RequestHeader,
  structure: Uint8Array,
  attributes: readonly (readonly [type: number, value: number])[],
): Buffer {
  const length = HEADER_LENGTH + structure.length + attributes.length * 8;
  const request = Buffer.alloc(length);
  request.writeUInt32LE(length, 0);
  request.writeUInt16LE(type, 4);
  request.writeUInt16LE(flags | NLM_F_REQUEST, 6);
  request.writeUInt32LE(sequence, 8);
  request.set(structure, HEADER_LENGTH);
  for (const [index, [attribute, value]] of attributes.entries()) {
    const at = HEADER_LENGTH + structure.length + index * 8;
    request.writeUInt16LE(8, at);
    request.writeUInt16LE(attribute, at + 2);
    request.writeUInt32LE(value, at + 4);
  }
  return request;
}

/**
 * The attributes of a message.
 *
 * Like `ByteReader` it is read straight through: what is missing is undefined, what is too short is
 * undefined as well and makes the whole message malformed, which {@link Attributes.check} tells at
 * the end. An attribute may be longer than expected: structures grow with the kernel.
 */
export class Attributes {
  readonly #object: string;
  readonly #values = new Map<number, Buffer>();
  readonly #nested: Attributes[] = [];
  #fault: string | undefined;

  constructor(object: string, bytes: Buffer, start = 0) {
    this.#object = object;
    let at = start;
    while (at < bytes.length) {
      const length = bytes.length - at < 4 ? 0 : bytes.readUInt16LE(at);
      if (length < 4 || length > bytes.length - at) {
        this.#fault = "attribute length";
        return;
      }
      // The two high bits are NLA_F_NESTED and NLA_F_NET_BYTEORDER.
      this.#values.set(bytes.readUInt16LE(at + 2) & 0x3fff, bytes.subarray(at + 4, at + length));
      at += align(length);
    }
  }

  has(type: number): boolean {
    return this.#values.has(type);
  }

  hasOtherThan(types: ReadonlySet<number>): boolean {
    return [...this.#values.keys()].some((type) => !types.has(type));
  }

  u8(type: number): number | undefined {
    return this.#atLeast(1, type)?.readUInt8(0);
  }

  u32(type: number): number | undefined {
    return this.#atLeast(4, type)?.readUInt32LE(0);
  }

  ipv4(type: number): Ipv4 | undefined {
    const bytes = this.#atLeast(4, type);
    return bytes === undefined ? undefined : ipv4FromBytes(bytes.subarray(0, 4));
  }

  /** Up to the first NUL. */
  text(type: number): string | undefined {
    const bytes = this.#values.get(type);
    if (bytes === undefined) return undefined;
    const end = bytes.indexOf(0);
    return bytes.toString("utf8", 0, end < 0 ? bytes.length : end);
  }

  /** Empty when the attribute is missing. */
  bytes(type: number): Buffer {
    return this.#values.get(type) ?? NO_BYTES;
  }

  /** Without attributes when the attribute is missing. */
  nested(type: number): Attributes {
    const nested = new Attributes(`${this.#object} ${type}`, this.bytes(type));
    this.#nested.push(nested);
    return nested;
  }

  /** `value`, unless an attribute that was read had too few bytes. */
  check<T>(value: T): Result<T, DecodeFault> {
    const fault = this.#firstFault();
    return fault === undefined ? ok(value) : malformed(fault);
  }

  #firstFault(): string | undefined {
    if (this.#fault !== undefined) return `${this.#object} ${this.#fault}`;
    for (const nested of this.#nested) {
      const fault = nested.#firstFault();
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  #atLeast(length: number, type: number): Buffer | undefined {
    const bytes = this.#values.get(type);
    if (bytes === undefined || bytes.length >= length) return bytes;
    this.#fault ??= `attribute ${type}`;
    return undefined;
  }
}

const NO_BYTES = Buffer.alloc(0);

export function malformed(reason: string): Result<never, DecodeFault> {
  return err({ code: "malformed", reason });
}

function align(length: number): number {
  return (length + 3) & ~3;
}
