import {
  ByteReader,
  ByteWriter,
  err,
  type Ipv4,
  ipv4FromUint32,
  isHostUnicast,
  type MacAddress,
  macFromBytes,
  macToBytes,
  ok,
  type Result,
} from "@mnm/proto/net";
import { Option, type RawOptions, splitOptions } from "./options.js";
import { encodeAscii } from "./text.js";

/** What makes a client on a link known to servers. Constant while the link is managed. */
export interface DhcpConfig {
  /** Hardware address of the link: Ethernet-like, six bytes. */
  readonly mac: MacAddress;
  /** Option 61. Undefined: `01` and the MAC (RFC 2132 §9.14). */
  readonly clientId: Uint8Array | undefined;
  /** Option 12. */
  readonly hostName: string | undefined;
  /** Option 60. */
  readonly vendorClass: string | undefined;
  /** Whether an ACK may answer the DISCOVER. RFC 4039. */
  readonly rapidCommit: boolean;
}

/** A server's message, after the checks that need no lease and no exchange. */
export interface Reply {
  readonly type: "offer" | "ack" | "nak";
  readonly xid: number;
  /** yiaddr, unchecked. */
  readonly address: Ipv4;
  readonly serverId: Ipv4;
  readonly options: RawOptions;
}

/** Why bytes are not a server's message to this client. */
export type NotAReply =
  | "too-short"
  | "too-long"
  | "not-a-reply"
  | "wrong-hardware-type"
  | "wrong-chaddr"
  | "bad-cookie"
  | "options-truncated"
  | "message-type-missing"
  | "message-type-unexpected"
  | "forcerenew-unauthenticated"
  | "server-id-missing"
  | "server-id-unusable"
  | "client-id-wrong";

export type ClientMessage = "discover" | "request" | "decline" | "release";

/** A message to servers. What is undefined is not sent (of `leasedAddress`: sent as 0). */
export interface Outgoing {
  readonly message: ClientMessage;
  readonly xid: number;
  readonly secs: number;
  /** ciaddr: only where the address is ours and we can answer at it. */
  readonly leasedAddress: Ipv4 | undefined;
  readonly requestedAddress: Ipv4 | undefined;
  readonly serverId: Ipv4 | undefined;
}

const BOOTREQUEST = 1;
const BOOTREPLY = 2;
const HTYPE_ETHERNET = 1;
const MAGIC_COOKIE = 0x63825363;
const HEADER_LENGTH = 240;

/** BOOTP messages were 300 bytes; some relays and servers drop shorter ones. RFC 1542 §2.1. */
const MIN_LENGTH = 300;

/** What fits into an Ethernet frame, and what we say that we take (option 57). */
const MAX_LENGTH = 1472;

const MESSAGE_TYPES = { discover: 1, request: 3, decline: 4, release: 7 } as const;
const OFFER = 2;
const ACK = 5;
const NAK = 6;
const FORCERENEW = 9;

/** RFC 3442: 121 comes before 3 and 33. */
const PARAMETER_LIST = [
  Option.subnetMask,
  Option.classlessRoutes,
  Option.microsoftRoutes,
  Option.routers,
  Option.staticRoutes,
  Option.dnsServers,
  Option.hostName,
  Option.domain,
  Option.mtu,
  Option.broadcast,
  Option.ntpServers,
  Option.serverId,
  Option.t1,
  Option.t2,
  Option.captivePortal,
  Option.searchDomains,
];

/** Reads a message that may be from anybody; says why where it is nothing for this client. */
export function decodeReply(payload: Uint8Array, config: DhcpConfig): Result<Reply, NotAReply> {
  if (payload.length < HEADER_LENGTH) return err("too-short");
  if (payload.length > MAX_LENGTH) return err("too-long");

  const reader = new ByteReader(payload);
  const op = reader.u8();
  const htype = reader.u8();
  const hlen = reader.u8();
  reader.bytes(1); // hops
  const xid = reader.u32();
  reader.bytes(8); // secs, flags, ciaddr
  const yiaddr = ipv4FromUint32(reader.u32());
  reader.bytes(8); // siaddr, giaddr
  const chaddr = reader.bytes(16);
  const sname = reader.bytes(64);
  const file = reader.bytes(128);
  const cookie = reader.u32();

  if (op !== BOOTREPLY) return err("not-a-reply");
  if (htype !== HTYPE_ETHERNET || hlen !== 6) return err("wrong-hardware-type");
  if (macFromBytes(chaddr.subarray(0, 6)) !== config.mac) return err("wrong-chaddr");
  if (cookie !== MAGIC_COOKIE) return err("bad-cookie");

  const options = splitOptions({ options: reader.bytes(reader.remaining), file, sname });
  if (options === undefined) return err("options-truncated");
  const type = replyType(options.get(Option.messageType));
  if (!type.ok) return type;
  const serverId = replyServerId(options.get(Option.serverId));
  if (!serverId.ok) return serverId;
  const echoed = options.get(Option.clientId);
  // RFC 6842 §3: an answer that names another client is not ours, whatever its chaddr.
  if (echoed !== undefined && !sameBytes(echoed, clientIdOf(config))) return err("client-id-wrong");
  return ok({ type: type.value, xid, address: yiaddr, serverId: serverId.value, options });
}

function replyType(bytes: Uint8Array | undefined): Result<Reply["type"], NotAReply> {
  // Two of them, "ACK and NAK", were joined into one of two bytes: that is no message type.
  if (bytes === undefined || bytes.length !== 1) return err("message-type-missing");
  switch (bytes[0]) {
    case OFFER:
      return ok("offer");
    case ACK:
      return ok("ack");
    case NAK:
      return ok("nak");
    case FORCERENEW:
      // RFC 3203 demands authentication, which we do not have (CVE-2020-13529).
      return err("forcerenew-unauthenticated");
    default:
      return err("message-type-unexpected");
  }
}

/** RFC 2131 table 3: every OFFER, ACK and NAK has one. */
function replyServerId(bytes: Uint8Array | undefined): Result<Ipv4, NotAReply> {
  if (bytes === undefined || bytes.length !== 4) return err("server-id-missing");
  const serverId = ipv4FromUint32(new ByteReader(bytes).u32());
  return isHostUnicast(serverId) ? ok(serverId) : err("server-id-unusable");
}

/** Writes a message, at least 300 bytes long. Never more than fits, whatever the config says. */
export function encodeMessage(config: DhcpConfig, outgoing: Outgoing): Uint8Array {
  const writer = new ByteWriter(MAX_LENGTH);
  writer.u8(BOOTREQUEST).u8(HTYPE_ETHERNET).u8(6).u8(0).u32(outgoing.xid);
  // Flags 0: a packet socket also takes answers that are unicast to an address we lack yet.
  writer.u16(Math.min(Math.max(Math.floor(outgoing.secs), 0), 0xffff)).u16(0);
  writer.u32(outgoing.leasedAddress ?? 0).zeros(12); // ciaddr; yiaddr, siaddr, giaddr
  writer.bytes(macToBytes(config.mac)).zeros(10 + 64 + 128); // chaddr, sname, file
  writer.u32(MAGIC_COOKIE);

  putOption(writer, Option.messageType, Uint8Array.of(MESSAGE_TYPES[outgoing.message]));
  putOption(writer, Option.clientId, clientIdOf(config));
  putAddress(writer, Option.requestedAddress, outgoing.requestedAddress);
  putAddress(writer, Option.serverId, outgoing.serverId);
  // RFC 2131 table 5: a DECLINE or RELEASE must have none of these.
  if (outgoing.message === "discover" || outgoing.message === "request") {
    putOption(writer, Option.maxMessageSize, Uint8Array.of(MAX_LENGTH >> 8, MAX_LENGTH & 0xff));
    putOption(writer, Option.parameterList, Uint8Array.from(PARAMETER_LIST));
    putText(writer, Option.hostName, config.hostName);
    putText(writer, Option.vendorClass, config.vendorClass);
  }
  if (outgoing.message === "discover" && config.rapidCommit) {
    putOption(writer, Option.rapidCommit, new Uint8Array(0));
  }
  writer.u8(Option.end);
  return writer.zeros(Math.max(0, MIN_LENGTH - writer.length)).finish();
}

/** An identifier of a length that option 61 cannot have gives way to the default. */
/** Option 61: as configured where that is valid, else made of the MAC. */
export function clientIdOf({ clientId, mac }: Pick<DhcpConfig, "clientId" | "mac">): Uint8Array {
  if (clientId !== undefined && clientId.length >= 2 && clientId.length <= 255) return clientId;
  return Uint8Array.of(HTYPE_ETHERNET, ...macToBytes(mac));
}

function putOption(writer: ByteWriter, option: number, value: Uint8Array): void {
  writer.u8(option).u8(value.length).bytes(value);
}

function putAddress(writer: ByteWriter, option: number, address: Ipv4 | undefined): void {
  if (address !== undefined) writer.u8(option).u8(4).u32(address);
}

/** Text that no option can hold is left out: the configuration has refused it before. */
function putText(writer: ByteWriter, option: number, text: string | undefined): void {
  const value = text === undefined ? undefined : encodeAscii(text);
  if (value !== undefined) putOption(writer, option, value);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
