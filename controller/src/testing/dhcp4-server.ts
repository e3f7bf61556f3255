/** The other side of the wire, for tests: reads what a client sends and writes replies. */
import {
  ByteReader,
  ByteWriter,
  type Ipv4,
  ipv4FromUint32,
  ipv4ToBytes,
  type MacAddress,
  macToBytes,
  parseIpv4,
  parseMac,
} from "@mnm/proto/net";
import type { DhcpConfig, DhcpEvent } from "../dhcp4/index.js";

export function ipv4(text: string): Ipv4 {
  const address = parseIpv4(text);
  if (!address.ok) throw new SyntaxError(`Not an address: ${text}`);
  return address.value;
}

export function mac(text: string): MacAddress {
  const address = parseMac(text);
  if (!address.ok) throw new SyntaxError(`Not a MAC address: ${text}`);
  return address.value;
}

export const CONFIG: DhcpConfig = {
  mac: mac("02:00:00:00:00:01"),
  clientId: undefined,
  hostName: undefined,
  vendorClass: undefined,
  rapidCommit: false,
};

/** Message types of RFC 2132 §9.6 and RFC 3203. */
export const TYPES = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
  forcerenew: 9,
} as const;

/** Options by code. A list is sent as several options of that code. */
export type ReplyOptions = Readonly<Record<number, Uint8Array | readonly Uint8Array[] | undefined>>;

export interface ReplyFields {
  readonly type: keyof typeof TYPES;
  readonly xid: number;
  readonly address?: Ipv4;
  readonly mac?: MacAddress;
  readonly op?: number;
  readonly options?: ReplyOptions;
  readonly file?: Uint8Array;
  readonly sname?: Uint8Array;
}

/** Another host, which has the address. */
export const CONFLICT: DhcpEvent & { kind: "conflict" } = {
  kind: "conflict",
  holder: { kind: "host", mac: "02:00:00:00:00:99" as MacAddress },
};
export const SERVER = ipv4("192.0.2.1");
export const ADDRESS = ipv4("192.0.2.50");

export function u32(value: number): Uint8Array {
  return ipv4ToBytes(ipv4FromUint32(value));
}

export function addresses(...texts: readonly string[]): Uint8Array {
  return Uint8Array.from(texts.flatMap((text) => [...ipv4ToBytes(ipv4(text))]));
}

export function ascii(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "latin1"));
}

/** What a home router says: a lease of an hour in 192.0.2.0/24. */
export const USUAL_OPTIONS: ReplyOptions = {
  1: addresses("255.255.255.0"),
  3: addresses("192.0.2.1"),
  51: u32(3600),
  54: addresses("192.0.2.1"),
};

/** A reply with {@link USUAL_OPTIONS}, except where `options` says otherwise. */
export function replyOf(fields: ReplyFields): Uint8Array {
  const writer = new ByteWriter(4096);
  writer
    .u8(fields.op ?? 2)
    .u8(1)
    .u8(6)
    .u8(0)
    .u32(fields.xid)
    .zeros(8);
  writer.u32(fields.type === "nak" ? 0 : (fields.address ?? ADDRESS)).zeros(8);
  writer.bytes(macToBytes(fields.mac ?? CONFIG.mac)).zeros(10);
  putArea(writer, fields.sname, 64);
  putArea(writer, fields.file, 128);
  writer.u32(0x63825363);
  const usual = fields.type === "nak" ? { 54: USUAL_OPTIONS[54] } : USUAL_OPTIONS;
  const options = { 53: Uint8Array.of(TYPES[fields.type]), ...usual, ...fields.options };
  for (const [code, value] of Object.entries(options)) {
    const parts = value === undefined || value instanceof Uint8Array ? [value] : value;
    for (const part of parts) {
      if (part !== undefined) writer.u8(Number(code)).u8(part.length).bytes(part);
    }
  }
  return writer.u8(255).finish();
}

function putArea(writer: ByteWriter, area: Uint8Array | undefined, length: number): void {
  writer.bytes(area ?? new Uint8Array(0)).zeros(length - (area?.length ?? 0));
}

/** A client's message, read independently of the code under test. */
export interface Received {
  readonly type: string;
  readonly length: number;
  readonly xid: number;
  readonly secs: number;
  readonly ciaddr: Ipv4;
  readonly options: ReadonlyMap<number, Uint8Array>;
}

export function receive(payload: Uint8Array): Received {
  const reader = new ByteReader(payload);
  reader.bytes(4);
  const xid = reader.u32();
  const secs = reader.u16();
  reader.u16();
  const ciaddr = ipv4FromUint32(reader.u32());
  reader.bytes(240 - 16);
  const options = new Map<number, Uint8Array>();
  for (let code = reader.u8(); code !== 255; code = reader.u8()) {
    if (reader.overrun) throw new RangeError("A message without an end");
    if (code !== 0) options.set(code, reader.bytes(reader.u8()));
  }
  const number = options.get(53)?.[0];
  const type = Object.entries(TYPES).find(([, value]) => value === number)?.[0] ?? "none";
  return { type, length: payload.length, xid, secs, ciaddr, options };
}
