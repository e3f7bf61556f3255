import { ByteWriter, type Ipv4, ipv4FromUint32 } from "@mnm/proto/net";

const COOKIE = 0x63825363;
const DISCOVER = 1;
const REQUEST = 3;
const OFFER = 2;
const ACK = 5;
const NAK = 6;

/** What a server gives out on one link. */
export interface FakePool {
  readonly address: Ipv4;
  readonly serverId: Ipv4;
  readonly leaseSec: number;
  /** A NAK answers every REQUEST. */
  readonly isRefusing: boolean;
}

/**
 * The answer of an authoritative server to a client's message: an offer to DISCOVER, an ACK to a
 * REQUEST for the pool's address, a NAK to one for another. Undefined for anything else.
 */
export function answerOf(payload: Uint8Array, pool: FakePool): Uint8Array | undefined {
  const options = optionsOf(payload);
  const type = options.get(53)?.[0];
  if (type === DISCOVER) return reply(payload, OFFER, pool);
  if (type !== REQUEST) return undefined;
  const wanted = options.get(50) ?? payload.slice(12, 16);
  const asked = ipv4FromUint32(new DataView(Uint8Array.from(wanted).buffer).getUint32(0));
  const isGranted = asked === pool.address && !pool.isRefusing;
  return reply(payload, isGranted ? ACK : NAK, pool);
}

function optionsOf(payload: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = 240; at < payload.length; ) {
    const code = payload[at] ?? 255;
    if (code === 255) break;
    if (code === 0) {
      at += 1;
      continue;
    }
    const length = payload[at + 1] ?? 0;
    options.set(code, payload.slice(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return options;
}

function reply(
  request: Uint8Array,
  type: number,
  { address, serverId, leaseSec }: FakePool,
): Uint8Array {
  const isNak = type === NAK;
  const writer = new ByteWriter(576).u8(2).u8(1).u8(6).u8(0);
  writer.bytes(request.slice(4, 8)).zeros(8);
  writer
    .u32(isNak ? 0 : address)
    .zeros(8)
    .bytes(request.slice(28, 44))
    .zeros(192)
    .u32(COOKIE);
  writer.u8(53).u8(1).u8(type).u8(54).u8(4).u32(serverId);
  if (!isNak) {
    writer.u8(51).u8(4).u32(leaseSec).u8(1).u8(4).u32(0xffffff00).u8(3).u8(4).u32(serverId);
  }
  writer.u8(255);
  return writer.zeros(300 - writer.length).finish();
}
