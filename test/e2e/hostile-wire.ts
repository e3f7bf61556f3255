// The helper's messages as bytes, written without the generated code: a hostile controller is not
// bound to its types, and a check of the helper should not share its encoder.

export type Value = number | boolean | string | Uint8Array | Message | readonly Message[] | Numbers;
type Numbers = readonly number[];

/** A message by the names of its fields; what is absent is not on the wire. */
export interface Message {
  readonly [field: string]: Value | undefined;
}

type Scalar = "uint32" | "fixed32" | "bytes";
export type FieldType = Scalar | Schema;

/** Field number and type of each field. */
export interface Schema {
  readonly [field: string]: readonly [number, FieldType];
}

export const LINK: Schema = { ifindex: [1, "uint32"], name: [2, "bytes"], mac: [3, "bytes"] };
const PREFIX: Schema = { network: [1, "fixed32"], length: [2, "uint32"] };
const PUT_ADDRESS: Schema = {
  link: [1, LINK],
  address: [2, "fixed32"],
  prefixLength: [3, "uint32"],
  broadcast: [4, "fixed32"],
  validSec: [5, "uint32"],
  peer: [6, "fixed32"],
};
const DELETE_ADDRESS: Schema = {
  link: [1, LINK],
  address: [2, "fixed32"],
  prefixLength: [3, "uint32"],
};
const DELETE_ROUTE: Schema = {
  link: [1, LINK],
  table: [2, "uint32"],
  type: [3, "uint32"],
  destination: [4, PREFIX],
  metric: [5, "uint32"],
  gateway: [6, "fixed32"],
};
const PUT_ROUTE: Schema = {
  ...DELETE_ROUTE,
  preferredSource: [7, "fixed32"],
  onlink: [8, "uint32"],
  mtu: [9, "uint32"],
};
const RULE: Schema = {
  kind: [1, "uint32"],
  device: [2, "bytes"],
  from: [3, "fixed32"],
  to: [4, PREFIX],
  table: [5, "uint32"],
  metric: [6, "uint32"],
  priority: [7, "uint32"],
  uid: [8, "uint32"],
  fwmark: [9, "uint32"],
};
const SETTINGS: Schema = {
  link: [1, LINK],
  up: [2, "uint32"],
  rpFilter: [3, "uint32"],
  arpIgnore: [4, "uint32"],
  arpAnnounce: [5, "uint32"],
  ignoreRoutesWithLinkdown: [6, "uint32"],
  promoteSecondaries: [7, "uint32"],
};
const OPERATION: Schema = {
  group: [1, "uint32"],
  putAddress: [2, PUT_ADDRESS],
  deleteAddress: [3, DELETE_ADDRESS],
  putRoute: [4, PUT_ROUTE],
  deleteRoute: [5, DELETE_ROUTE],
  putRule: [6, { link: [1, LINK], rule: [2, RULE] }],
  deleteRule: [7, { rule: [1, RULE] }],
  putLinkSettings: [8, SETTINGS],
};
const DHCP: Schema = {
  link: [1, LINK],
  payload: [2, "bytes"],
  server: [3, "fixed32"],
  source: [4, "fixed32"],
};
const ARP: Schema = {
  link: [1, LINK],
  probe: [2, { target: [1, "fixed32"] }],
  announcement: [3, { address: [1, "fixed32"] }],
  request: [4, { sender: [1, "fixed32"], gateway: [2, "fixed32"], gatewayMac: [3, "bytes"] }],
};
const LEGACY_EVENT: Schema = { ifindex: [1, "uint32"], up: [2, "uint32"] };

const VERBS = {
  Hello: { protocolVersion: [1, "uint32"] },
  Apply: { operations: [1, OPERATION] },
  PurgeOwned: {},
  OpenPackets: { links: [1, LINK] },
  ClosePackets: { ifindexes: [1, "uint32"] },
  SendDhcp: { messages: [1, DHCP] },
  ReceiveDhcp: {},
  WatchArp: { watches: [1, { link: [1, LINK], addresses: [2, "fixed32"] }] },
  SendArp: { messages: [1, ARP] },
  ReceiveArp: {},
  BroadcastLegacyEvent: { events: [1, LEGACY_EVENT] },
} as const satisfies Readonly<Record<string, Schema>>;

/** What each verb takes. */
export const REQUESTS = {
  ...VERBS,
  Perform: {
    Apply: [1, VERBS.Apply],
    OpenPackets: [2, VERBS.OpenPackets],
    ClosePackets: [3, VERBS.ClosePackets],
    SendDhcp: [4, VERBS.SendDhcp],
    WatchArp: [5, VERBS.WatchArp],
    SendArp: [6, VERBS.SendArp],
    BroadcastLegacyEvent: [7, VERBS.BroadcastLegacyEvent],
  },
} as const satisfies Readonly<Record<string, Schema>>;

export type Verb = keyof typeof REQUESTS;

export function encodeRequest(verb: Verb, request: Message): Buffer {
  return encodeMessage(REQUESTS[verb], request);
}

export function encodeMessage(schema: Schema, message: Message): Buffer {
  const parts = Object.entries(schema).flatMap(([name, [number, type]]) => {
    const value = message[name];
    if (value === undefined) return [];
    const values: readonly (Value | undefined)[] = Array.isArray(value) ? value : [value];
    return values.map((one) => encodeField(number, type, one));
  });
  return Buffer.concat(parts);
}

function encodeField(number: number, type: FieldType, value: Value | undefined): Buffer {
  if (type === "uint32") return Buffer.concat([tag(number, 0), varint(Number(value))]);
  if (type === "fixed32") {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(Number(value));
    return Buffer.concat([tag(number, 5), bytes]);
  }
  return lengthDelimited(number, type === "bytes" ? bytesOf(value) : nested(type, value));
}

export function lengthDelimited(number: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([tag(number, 2), varint(bytes.length), bytes]);
}

export function tag(number: number, wireType: number): Buffer {
  return varint(number * 8 + wireType);
}

/** Of numbers up to 2^53. */
export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

function bytesOf(value: Value | undefined): Uint8Array {
  if (typeof value === "string") return Buffer.from(value, "utf8");
  if (value instanceof Uint8Array) return value;
  throw new TypeError(`${String(value)} is neither text nor bytes`);
}

function nested(schema: Schema, value: Value | undefined): Buffer {
  if (!isMessage(value)) throw new TypeError(`${String(value)} is no message`);
  return encodeMessage(schema, value);
}

export function isMessage(value: Value | undefined): value is Message {
  return typeof value === "object" && !Array.isArray(value) && !(value instanceof Uint8Array);
}
