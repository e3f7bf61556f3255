/** Replies of our own making beside the corpus: every field and option that a stranger can fill in. */
import { encodeUdpPacket, internetChecksum, ipv4FromUint32 } from "@mnm/proto/net";
import type { RawAnswer } from "../lab/raw-server.js";
import {
  type Expectation,
  ipv4,
  message,
  type Options,
  payload,
  RECORDED,
  REQUESTED,
  SERVER,
  SERVER_MAC,
  u32,
  type Verdict,
  type WireCase,
} from "./wire-cases.js";

const OFFER = 2;
const ACK = 5;
const NAK = 6;
const NINE = ipv4("192.0.2.9");
const WIDE = [24, 203, 0, 113];

const ascii = (text: string): readonly number[] => [...Buffer.from(text, "latin1")];
const repeated = <T>(times: number, make: (index: number) => readonly T[]): readonly T[] =>
  Array.from({ length: times }, (_, index) => make(index)).flat();

type Row = readonly [name: string, verdict: Verdict, options: Options, expect?: Expectation];

/** ACKs of 192.0.2.50 with these options in the place of usual ones. */
const ACKS: readonly Row[] = [
  ["mask of /0", "decline", { 1: [0, 0, 0, 0] }],
  ["mask of /1", "decline", { 1: [128, 0, 0, 0] }],
  ["mask of /30", "accept", { 1: [255, 255, 255, 252] }, { prefixlen: 30, router: [SERVER] }],
  ["mask of /31", "accept", { 1: [255, 255, 255, 254] }, { prefixlen: 31, router: [SERVER] }],
  ["mask of /32", "accept", { 1: [255, 255, 255, 255] }, { prefixlen: 32, router: [SERVER] }],
  ["mask twice", "accept", { 1: [255, 255, 255, 0, 255, 255, 255, 0] }, { prefixlen: 24 }],
  ["no mask", "accept", { 1: undefined }, { prefixlen: 24 }],
  ["router is multicast", "accept", { 3: ipv4("224.0.0.1") }, { router: [] }],
  ["router is all ones", "accept", { 3: ipv4("255.255.255.255") }, { router: [] }],
  ["router is the prefix's broadcast", "accept", { 3: ipv4("192.0.2.255") }, { router: [] }],
  ["router is the prefix itself", "accept", { 3: ipv4("192.0.2.0") }, { router: [] }],
  [
    "router twice",
    "accept",
    { 3: [...ipv4(SERVER), ...ipv4(SERVER), ...NINE] },
    { router: [SERVER, "192.0.2.9"] },
  ],
  ["router of no bytes", "accept", { 3: [] }, { router: [] }],
  ["lease of 9 s", "decline", { 51: u32(9) }],
  ["lease twice", "drop", { 51: [...u32(3600), ...u32(3600)] }],
  ["lease of 5 bytes", "drop", { 51: [...u32(3600), 0] }],
  ["T1 without T2", "accept", { 58: u32(1000) }, { t1: 1000, t2: 3150 }],
  ["T1 = T2", "accept", { 58: u32(2000), 59: u32(2000) }, { t1: 1800, t2: 3150 }],
  ["T2 = lease", "accept", { 59: u32(3600) }, { t1: 1800, t2: 3150 }],
  ["T1 for ever", "accept", { 58: u32(0xffff_ffff) }, { t1: 1800, t2: 3150 }],
  ["T1 of 2 bytes", "accept", { 58: [0, 9] }, { t1: 1800, t2: 3150 }],
  ["infinite with T1", "accept", { 51: u32(0xffff_ffff), 58: u32(60) }, { lease: "infinite" }],
  ["server identifier all ones", "drop", { 54: ipv4("255.255.255.255") }],
  ["server identifier multicast", "drop", { 54: ipv4("224.0.0.1") }],
  ["server identifier twice", "drop", { 54: [...ipv4(SERVER), ...ipv4(SERVER)] }],
  ["server identifier of another", "drop", { 54: NINE }],
  ["message type of two bytes", "drop", { 53: [5, 5] }],
  ["message type 0", "drop", { 53: [0] }],
  ["message type DISCOVER", "drop", { 53: [1] }],
  ["message type INFORM", "drop", { 53: [8] }],
  ["message type LEASEACTIVE", "drop", { 53: [13] }],
  ["an OFFER instead of an ACK", "drop", { 53: [OFFER] }],
  ["client identifier of another", "drop", { 61: [1, 2, 0, 0, 0, 0, 99] }],
  ["client identifier of no bytes", "drop", { 61: [] }],
  ["MTU 575", "accept", { 26: [2, 63] }, { mtu: null }],
  ["MTU 576", "accept", { 26: [2, 64] }, { mtu: 576 }],
  ["MTU 9000 on a link of 1,500", "accept", { 26: [35, 40] }, { mtu: 9000 }],
  ["MTU 9217", "accept", { 26: [36, 1] }, { mtu: null }],
  ["MTU of 1 byte", "accept", { 26: [9] }, { mtu: null }],
  ["broadcast of elsewhere", "accept", { 28: ipv4("198.51.100.255") }],
  ["host name with NULs behind", "accept", { 12: ascii("host\0\0") }, { hostname: "host" }],
  ["host name with a NUL inside", "accept", { 12: ascii("ho\0st") }, { hostname: null }],
  ["host name of a dot", "accept", { 12: ascii(".") }, { hostname: null }],
  ["host name with a hyphen first", "accept", { 12: ascii("-rf") }, { hostname: null }],
  ["host name with a backtick", "accept", { 12: ascii("a`id`") }, { hostname: null }],
  ["host name with a newline", "accept", { 12: ascii("a\nb") }, { hostname: null }],
  ["domain with a final dot", "accept", { 15: ascii("example.net.") }, { domain: "example.net" }],
  ["domains with a space", "accept", { 15: ascii("a.example b.example") }, { domain: null }],
  ["domain of 254 characters", "accept", { 15: ascii(`${"a.".repeat(126)}bc`) }, { domain: null }],
  ["search: a pointer ahead", "accept", { 119: [0xc0, 2, 1, 97, 0] }, { search: [] }],
  ["search: half a pointer", "accept", { 119: [1, 97, 0xc0] }, { search: [] }],
  ["search: two pointers in a ring", "accept", { 119: [0xc0, 2, 0xc0, 0] }, { search: [] }],
  [
    "search: a label too long",
    "accept",
    { 119: [64, ...ascii("a".repeat(64)), 0] },
    { search: [] },
  ],
  ["search: no end", "accept", { 119: [1, 97] }, { search: [] }],
  [
    "search: good and hostile",
    "accept",
    { 119: [1, 97, 0, 3, 36, 40, 41, 0, 1, 98, 0xc0, 0] },
    { search: ["a", "b.a"] },
  ],
  ["routes cut off", "accept", { 121: [...WIDE, ...NINE, 24, 198, 51] }, { routes: [] }],
  [
    "routes to one destination by two gateways",
    "accept",
    { 121: [...WIDE, ...NINE, ...WIDE, ...ipv4("192.0.2.8")] },
    { kernel: [["203.0.113.0/24", "192.0.2.9"]] },
  ],
  [
    "route by the prefix's broadcast",
    "accept",
    { 121: [...WIDE, ...ipv4("192.0.2.255"), 24, 198, 51, 100, ...NINE] },
    { routes: [["198.51.100.0/24", "192.0.2.9"]] },
  ],
  [
    "route by the prefix itself",
    "accept",
    { 121: [...WIDE, ...ipv4("192.0.2.0")] },
    { routes: [] },
  ],
  ["route by ourselves", "accept", { 121: [...WIDE, ...ipv4(REQUESTED)] }, { routes: [] }],
  ["route by multicast", "accept", { 121: [...WIDE, ...ipv4("224.0.0.9")] }, { routes: [] }],
  ["default by the broadcast", "accept", { 121: [0, ...ipv4("192.0.2.255")] }, { router: [] }],
  [
    "route to the prefix itself",
    "accept",
    { 121: [24, 192, 0, 2, ...NINE] },
    { kernel: [["192.0.2.0/24", "onlink"]] },
  ],
  ["route to ourselves", "accept", { 121: [32, ...ipv4(REQUESTED), ...NINE] }],
  ["route to its own gateway", "accept", { 121: [32, ...NINE, ...NINE] }],
  ["route by a gateway elsewhere", "accept", { 121: [...WIDE, ...ipv4("198.51.100.9")] }],
  ["two halves of the world", "accept", { 121: [1, 0, ...NINE, 1, 128, ...NINE] }, { router: [] }],
  ["default in 121 and option 3", "accept", { 121: [0, ...NINE] }, { router: ["192.0.2.9"] }],
  [
    "default by a gateway that is behind another",
    "accept",
    { 121: [0, ...ipv4(SERVER), 32, ...ipv4(SERVER), ...NINE] },
  ],
  [
    "half of the prefix by another gateway",
    "accept",
    { 121: [0, ...ipv4(SERVER), 25, 192, 0, 2, 0, ...NINE] },
  ],
  [
    "two gateways behind each other",
    "accept",
    { 121: [32, ...ipv4("192.0.2.8"), ...NINE, 32, ...NINE, ...ipv4("192.0.2.8")] },
  ],
  [
    "two gateways elsewhere behind each other",
    "accept",
    {
      121: [
        ...[32, 198, 51, 100, 1, 198, 51, 100, 2],
        ...[32, 198, 51, 100, 2, 198, 51, 100, 1],
        ...[0, 198, 51, 100, 1],
      ],
    },
    {
      kernel: [
        ["198.51.100.1/32", "onlink"],
        ["198.51.100.2/32", "onlink"],
      ],
    },
  ],
  ["default on the link", "accept", { 121: [0, 0, 0, 0, 0] }, { router: [], kernel: [] }],
  ["90 routes", "accept", { 121: repeated(40, (i) => [24, 10, 0, i, ...NINE]).slice(0, 248) }],
  ["option 33 by 0.0.0.0", "accept", { 33: [203, 0, 113, 0, 0, 0, 0, 0] }, { routes: [] }],
  ["option 33 of 7 bytes", "accept", { 33: [203, 0, 113, 0, 192, 0, 2] }, { routes: [] }],
  ["options nobody knows", "accept", { 43: [1], 82: [], 150: ascii("x"), 254: [0, 255] }],
  ["rapid commit in an ACK", "accept", { 80: [] }],
];

/** Addresses that no client may take. */
const ADDRESSES = ["255.255.255.255", "240.0.0.1", "192.0.2.255", SERVER];

export function strangerCases(): readonly WireCase[] {
  return [
    ...ACKS.map(([name, verdict, options, expect = {}]) =>
      row({ name, verdict, expect, answer: payload(message(ACK, REQUESTED, options)) }),
    ),
    ...ADDRESSES.map((address) =>
      row({
        name: `address ${address}`,
        verdict: "decline",
        answer: payload(message(ACK, address)),
      }),
    ),
    ...payloads(),
    ...outOfTurn(),
    ...frames(),
  ];
}

function row(fields: Pick<WireCase, "name" | "verdict" | "answer"> & Partial<WireCase>): WireCase {
  return { state: "REQUESTING", why: "RFC 2131", expect: {}, ...fields };
}

function payloads(): readonly WireCase[] {
  const good = message(ACK, REQUESTED);
  const changed = (at: number, ...bytes: readonly number[]): RawAnswer => {
    const copy = Buffer.from(good);
    copy.set(bytes, at);
    return payload(copy);
  };
  const padded = (length: number): RawAnswer =>
    payload(Buffer.concat([good, Buffer.alloc(length - good.length)]));
  const overloaded = message(ACK, REQUESTED, { 52: [3] });
  // The host name begins in file and ends in sname. RFC 3396.
  overloaded.set([12, 4, ...ascii("from"), 255], 108);
  overloaded.set([12, 4, ...ascii("both"), 255], 44);
  return [
    row({ name: "an option past the end", verdict: "drop", answer: changed(good.length - 1, 12) }),
    row({
      name: "a length past the end",
      verdict: "drop",
      answer: payload(Buffer.concat([good.subarray(0, -1), Buffer.from([12, 9, 97])])),
    }),
    row({ name: "1,472 bytes, all that fits", verdict: "accept", answer: padded(1472) }),
    row({ name: "1,473 bytes, in fragments", verdict: "drop", answer: padded(1473) }),
    row({
      name: "overload of both",
      verdict: "accept",
      answer: payload(overloaded),
      expect: { hostname: "fromboth" },
    }),
    row({ name: "noise in sname and file", verdict: "accept", answer: changed(44, 53, 1, 6, 255) }),
    row({ name: "noise behind chaddr", verdict: "accept", answer: changed(34, 9, 9, 9) }),
    row({
      name: "hops, secs and flags",
      verdict: "accept",
      answer: changed(8, 255, 255, 255, 255),
    }),
    row({ name: "a relay in giaddr", verdict: "accept", answer: changed(24, 198, 51, 100, 1) }),
    row({ name: "hlen 16", verdict: "drop", answer: changed(2, 16) }),
    row({ name: "htype 0", verdict: "drop", answer: changed(1, 0) }),
  ];
}

/** At a moment when they were not asked for, or from somebody else. */
function outOfTurn(): readonly WireCase[] {
  const nak = { 1: undefined, 3: undefined, 51: undefined };
  const offer = (options: Options) => payload(message(OFFER, REQUESTED, options));
  return [
    row({
      name: "NAK of another server",
      verdict: "drop",
      answer: payload(message(NAK, "0.0.0.0", { ...nak, 54: NINE })),
    }),
    row({
      name: "OFFER to a client that is bound",
      state: "BOUND",
      verdict: "drop",
      answer: offer({}),
    }),
    row({
      name: "ACK to a client that is bound",
      state: "BOUND",
      verdict: "drop",
      answer: payload(message(ACK, "192.0.2.66")),
    }),
    row({
      name: "OFFER of a server that is the client",
      state: "SELECTING",
      verdict: "drop",
      answer: offer({ 54: ipv4(REQUESTED) }),
    }),
    row({
      name: "OFFER without a lease time",
      state: "SELECTING",
      verdict: "drop",
      answer: offer({ 51: undefined }),
    }),
    row({
      name: "NAK to a client that has asked for nothing yet",
      state: "SELECTING",
      verdict: "drop",
      answer: payload(message(NAK, "0.0.0.0", nak)),
    }),
  ];
}

function frames(): readonly WireCase[] {
  const [server, all] = [ipv4FromUint32(0xc000_0201), ipv4FromUint32(0xffff_ffff)];
  const ends = { source: server, sourcePort: 67, destination: all, destinationPort: 68 };
  const good = Buffer.from(encodeUdpPacket(ends, message(ACK, REQUESTED)));
  const mac = (text: string) => Buffer.from(text.replaceAll(":", ""), "hex");
  const ethernet = (
    packet: Uint8Array,
    to: string = RECORDED.mac,
    type: readonly number[] = [8, 0],
  ) => {
    const bytes = Buffer.concat([mac(to), mac(SERVER_MAC), Buffer.from(type), packet]);
    return { layer: "frame", hex: bytes.toString("hex") } as const;
  };
  /** Changed at an offset from the IP header on; the header's checksum is then put right. */
  const changed = (at: number, ...bytes: readonly number[]) => {
    const copy = Buffer.from(good);
    copy.set(bytes, at);
    copy.writeUInt16BE(0, 10);
    copy.writeUInt16BE(internetChecksum(copy.subarray(0, 20)), 10);
    return copy;
  };
  const wrongSum = Buffer.from(good);
  wrongSum.writeUInt16BE(wrongSum.readUInt16BE(10) ^ 0x0100, 10);
  const long = good.length + 8;
  const rows: readonly (readonly [string, Verdict, RawAnswer])[] = [
    ["UDP without a checksum", "accept", ethernet(changed(26, 0, 0))],
    ["padding behind the packet", "accept", ethernet(Buffer.concat([good, Buffer.alloc(20, 1)]))],
    ["to all stations", "accept", ethernet(good, "ff:ff:ff:ff:ff:ff")],
    ["a wrong IP checksum", "never", ethernet(wrongSum)],
    ["IHL 4", "never", ethernet(changed(0, 0x44))],
    ["version 6", "never", ethernet(changed(0, 0x65))],
    ["more fragments", "never", ethernet(changed(6, 0x20, 0))],
    ["a fragment's offset", "never", ethernet(changed(6, 0, 2))],
    ["to another port", "never", ethernet(changed(22, 0, 67))],
    ["UDP longer than IP", "never", ethernet(changed(24, long >> 8, long & 255))],
    ["IP longer than the frame", "never", ethernet(changed(2, long >> 8, long & 255))],
    ["cut in the UDP header", "never", ethernet(good.subarray(0, 24))],
    ["VLAN in VLAN", "never", ethernet(good, undefined, [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0])],
    ["ARP's EtherType", "never", ethernet(good, undefined, [8, 6])],
  ];
  return rows.map(([name, verdict, answer]) => row({ name: `frame: ${name}`, verdict, answer }));
}
