/**
 * A DHCP server that says what it is told to, byte for byte: raw-server.js SCRIPT, in the namespace
 * that holds the far ends of the script's links.
 *
 * Its answers are recordings, made for one xid and one hardware address. They are aimed at the
 * client that asks: xid, chaddr and destination are changed by as much as the client's differ from the
 * recorded ones, so that a wrong one stays as wrong as it was, and the UDP checksum likewise. It
 * prints one JSON line, {@link Heard}, for every DHCP message that a client sends, and "ready" first.
 */
import { readFileSync } from "node:fs";
import { encodeUdpPacket, internetChecksum, ipv4FromUint32 } from "@mnm/proto/net";
import koffi from "koffi";

/** What the file holds, as JSON. */
export interface RawScript {
  readonly recorded: { readonly xid: number; readonly mac: string };
  readonly serverMac: string;
  /** The server's address, which it answers ARP for. */
  readonly server: string;
  readonly links: readonly RawLink[];
}

/** Answers to the first, second, … message of a kind; the last of them answers all that follow. */
export interface RawLink {
  readonly name: string;
  readonly ifindex: number;
  readonly discover: readonly (readonly RawAnswer[])[];
  readonly request: readonly (readonly RawAnswer[])[];
}

/** Hex: a payload, which gets its frame here, or a whole Ethernet frame. */
export interface RawAnswer {
  readonly layer: "payload" | "frame";
  readonly hex: string;
}

/** A client's message. */
export interface Heard {
  readonly link: string;
  /** By the wall clock. */
  readonly atMs: number;
  readonly message: string;
  readonly xid: number;
  /** Addresses as numbers; 0 where there is none. */
  readonly ciaddr: number;
  readonly requested: number;
  readonly server: number;
  readonly isUnicast: boolean;
}

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_ALL_BIG_ENDIAN = 0x0300;
const MSG_DONTWAIT = 0x40;
const PACKET_OUTGOING = 4;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_VLAN = 0x8100;
const ETHERNET_HEADER = 14;
const MTU = 1500;
const NAMES = ["", "discover", "offer", "request", "decline", "ack", "nak", "release", "inform"];

const libc = koffi.load(null);
const socket = libc.func("int socket(int, int, int)");
const sendto = libc.func("long sendto(int, const void *, size_t, int, const void *, uint32_t)");
const recvfrom = libc.func("long recvfrom(int, void *, size_t, int, void *, _Inout_ uint32_t *)");

const [file = ""] = process.argv.slice(2);
const script: RawScript = JSON.parse(readFileSync(file, "utf8"));
const serverMac = macBytes(script.serverMac);
const recordedMac = macBytes(script.recorded.mac);
const links = new Map(script.links.map((link) => [link.ifindex, link]));
const counts = new Map<string, number>();

// Bound to no link: one socket hears all of them, and says which.
const fd: number = socket(AF_PACKET, SOCK_RAW, ETH_P_ALL_BIG_ENDIAN);
const buffer = Buffer.alloc(65_536);
const from = Buffer.alloc(20);
// As long as the process: one that nobody names is collected, and the server then goes deaf.
export const watch = koffi.node.poll(fd, { readable: true }, () => {
  setImmediate(drain);
});
console.log("ready");

function drain(): void {
  for (;;) {
    const length: number = recvfrom(fd, buffer, buffer.length, MSG_DONTWAIT, from, [from.length]);
    if (length < 0) return;
    // struct sockaddr_ll: ifindex at 4, packet type at 10.
    const link = links.get(from.readUInt32LE(4));
    if (link === undefined || from[10] === PACKET_OUTGOING) continue;
    hear(link, Buffer.from(buffer.subarray(0, length)));
  }
}

function hear(link: RawLink, frame: Buffer): void {
  if (frame.length < ETHERNET_HEADER + 28) return;
  if (frame.readUInt16BE(12) === ETHERTYPE_ARP) hearArp(link, frame);
  const message = clientMessageOf(frame);
  if (message === undefined) return;
  const options = optionsOf(message);
  const name = NAMES[options.get(53)?.[0] ?? 0] ?? "";
  const heard: Heard = {
    link: link.name,
    atMs: Date.now(),
    message: name,
    xid: message.readUInt32BE(4),
    ciaddr: message.readUInt32BE(12),
    requested: options.get(50)?.readUInt32BE() ?? 0,
    server: options.get(54)?.readUInt32BE() ?? 0,
    isUnicast: frame[0] !== 0xff,
  };
  console.log(JSON.stringify(heard));
  if (name !== "discover" && name !== "request") return;
  for (const answer of nextAnswers(link, name)) {
    for (const bytes of framesOf(answer, message)) transmit(link, bytes);
  }
}

/** The DHCP message in a frame; undefined when it is something else. */
function clientMessageOf(frame: Buffer): Buffer | undefined {
  const isUdp = frame.readUInt16BE(12) === ETHERTYPE_IPV4 && frame[ETHERNET_HEADER + 9] === 17;
  const udp = ETHERNET_HEADER + ((frame[ETHERNET_HEADER] ?? 0) & 0x0f) * 4;
  if (!isUdp || frame.length < udp + 8 + 240 || frame.readUInt16BE(udp + 2) !== 67)
    return undefined;
  return frame.subarray(udp + 8);
}

/** Answers requests for the server's address: a client that renews by unicast has to find it. */
function hearArp(link: RawLink, frame: Buffer): void {
  const arp = frame.subarray(ETHERNET_HEADER, ETHERNET_HEADER + 28);
  if (arp.readUInt16BE(6) !== 1 || arp.subarray(24, 28).join(".") !== script.server) return;
  const reply = Buffer.from(arp);
  reply.writeUInt16BE(2, 6);
  reply.set(serverMac, 8);
  reply.set(arp.subarray(24, 28), 14);
  reply.set(arp.subarray(8, 18), 18);
  const head = [...arp.subarray(8, 14), ...serverMac, ETHERTYPE_ARP >> 8, ETHERTYPE_ARP & 255];
  transmit(link, Buffer.from([...head, ...reply]));
}

function optionsOf(message: Buffer): ReadonlyMap<number, Buffer> {
  const options = new Map<number, Buffer>();
  for (let at = 240; at < message.length && message[at] !== 255; ) {
    const code = message[at] ?? 0;
    const length = message[at + 1] ?? 0;
    if (code !== 0) options.set(code, message.subarray(at + 2, at + 2 + length));
    at += code === 0 ? 1 : 2 + length;
  }
  return options;
}

function nextAnswers(link: RawLink, name: "discover" | "request"): readonly RawAnswer[] {
  const key = `${link.name} ${name}`;
  const count = counts.get(key) ?? 0;
  counts.set(key, count + 1);
  return link[name][count] ?? link[name].at(-1) ?? [];
}

function framesOf({ layer, hex }: RawAnswer, message: Buffer): readonly Buffer[] {
  const bytes = Buffer.from(hex, "hex");
  const mac = message.subarray(28, 34);
  if (layer === "frame") return [aimedFrame(bytes, message)];
  for (const [at, difference] of differences(message)) {
    if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ difference;
  }
  const [a = 0, b = 0, c = 0, d = 0] = script.server.split(".").map(Number);
  const source = ipv4FromUint32(a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d);
  const destination = ipv4FromUint32(0xffff_ffff);
  const ends = { source, sourcePort: 67, destination, destinationPort: 68 };
  const head = [...mac, ...serverMac, ETHERTYPE_IPV4 >> 8, ETHERTYPE_IPV4 & 255];
  const packet = Buffer.from(encodeUdpPacket(ends, bytes));
  return fragmentsOf(packet).map((part) => Buffer.concat([Buffer.from(head), part]));
}

/** By how much this client's message differs from the recorded one, where a reply repeats it. */
function differences(message: Buffer): ReadonlyMap<number, number> {
  const recordedXid = Buffer.alloc(4);
  recordedXid.writeUInt32BE(script.recorded.xid);
  const at = new Map<number, number>();
  for (const [i, byte] of recordedXid.entries()) at.set(4 + i, byte ^ (message[4 + i] ?? 0));
  for (const [i, byte] of recordedMac.entries()) at.set(28 + i, byte ^ (message[28 + i] ?? 0));
  return at;
}

function aimedFrame(recorded: Buffer, message: Buffer): Buffer {
  const frame = Buffer.from(recorded);
  if (frame.subarray(0, 6).equals(recordedMac)) frame.set(message.subarray(28, 34), 0);
  const ip = frame.readUInt16BE(12) === ETHERTYPE_VLAN ? ETHERNET_HEADER + 4 : ETHERNET_HEADER;
  const udp = ip + ((frame[ip] ?? 0) & 0x0f) * 4;
  const before = Buffer.from(frame);
  for (const [at, difference] of differences(message)) {
    const where = udp + 8 + at;
    if (where < frame.length) frame[where] = (frame[where] ?? 0) ^ difference;
  }
  if (udp + 8 <= frame.length) fixChecksum(frame, before, udp);
  return frame;
}

/** RFC 1624: the checksum follows the change of the data, so a wrong one stays as wrong. */
function fixChecksum(frame: Buffer, before: Buffer, udp: number): void {
  const old = frame.readUInt16BE(udp + 6);
  // 0: there is none.
  if (old === 0) return;
  let sum = ~old & 0xffff;
  for (let at = udp + 8; at + 1 < frame.length; at += 2) {
    sum += (~before.readUInt16BE(at) & 0xffff) + frame.readUInt16BE(at);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  frame.writeUInt16BE(~sum & 0xffff || 0xffff, udp + 6);
}

/** RFC 791 §3.2, for payloads that are larger than the MTU. */
function fragmentsOf(packet: Buffer): readonly Buffer[] {
  if (packet.length <= MTU) return [packet];
  const data = packet.subarray(20);
  const size = MTU - 20;
  return Array.from({ length: Math.ceil(data.length / size) }, (_, index) => {
    const part = data.subarray(index * size, (index + 1) * size);
    const header = Buffer.from(packet.subarray(0, 20));
    header.writeUInt16BE(20 + part.length, 2);
    header.writeUInt16BE(1, 4);
    const more = (index + 1) * size < data.length ? 0x2000 : 0;
    header.writeUInt16BE(more | ((index * size) / 8), 6);
    header.writeUInt16BE(0, 10);
    header.writeUInt16BE(internetChecksum(header), 10);
    return Buffer.concat([header, part]);
  });
}

function transmit(link: RawLink, frame: Buffer): void {
  const to = Buffer.alloc(20);
  to.writeUInt16LE(AF_PACKET, 0);
  to.writeUInt32LE(link.ifindex, 4);
  const sent: number = sendto(fd, frame, frame.length, 0, to, to.length);
  if (sent !== frame.length) console.log(`could not send ${frame.length} bytes on ${link.name}`);
}

function macBytes(text: string): Buffer {
  return Buffer.from(text.replaceAll(":", ""), "hex");
}
