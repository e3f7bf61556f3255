/** Messages like those of a DHCP server, but not quite: seeded mutations of captures. */
import { type CorpusFile, corpusFiles, withoutCorpora } from "./dhcp4-corpora.js";
import { ADDRESS, ascii, replyOf, u32 } from "./dhcp4-server.js";

/** The xid of every client that mutations are aimed at. */
export const XID = 0x3903f326;

export type Random = (below: number) => number;

/** mulberry32: small, seeded, good enough to spread mutations. */
export function randomFrom(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** The bytes with the xid and chaddr of the clients, so that they get past the first checks. */
export function aimed(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 44) return bytes;
  const copy = Uint8Array.from(bytes);
  copy.set([2, 1, 6, 0], 0);
  copy.set(u32(XID), 4);
  copy.set([2, 0, 0, 0, 0, 1], 28);
  return copy;
}

const OPTIONS_AT = 240;
const MAX_LENGTH = 1500;

/** Bytes set, flipped, cut out, doubled or inserted, mostly where the options are. */
export function mutated(bytes: Uint8Array, random: Random): Uint8Array {
  let copy: Uint8Array = Uint8Array.from(bytes);
  for (let times = 1 + random(6); times > 0; times -= 1) {
    const from = random(8) > 0 ? Math.min(OPTIONS_AT, copy.length) : 0;
    const at = from + random(Math.max(1, copy.length - from));
    const end = Math.min(copy.length, at + 1 + random(16));
    switch (random(7)) {
      case 0:
        copy[at] = random(256);
        break;
      case 1:
        copy[at] = (copy[at] ?? 0) ^ (1 << random(8));
        break;
      case 2:
        copy = Buffer.concat([copy.subarray(0, at), copy.subarray(end)]);
        break;
      case 3:
        copy = Buffer.concat([copy.subarray(0, end), copy.subarray(at)]);
        break;
      case 4:
      case 5:
        copy = withOption(copy, random);
        break;
      default:
        copy = spliced(copy, at, Uint8Array.of(random(256), random(24)));
    }
  }
  return copy.subarray(0, MAX_LENGTH);
}

/** What the client reads, and what makes it send, wait or give up. */
const CODES = [1, 3, 6, 12, 15, 26, 28, 33, 42, 51, 52, 53, 54, 58, 59, 61, 80, 114, 119, 121, 249];

/** A whole option of random bytes before all others, which a decoder joins with those. RFC 3396. */
function withOption(bytes: Uint8Array, random: Random): Uint8Array {
  if (bytes.length < OPTIONS_AT) return bytes;
  const value = Uint8Array.from({ length: random(20) }, () => random(256));
  const code = CODES[random(CODES.length)] ?? 0;
  return spliced(bytes, OPTIONS_AT, Uint8Array.of(code, value.length, ...value));
}

function spliced(bytes: Uint8Array, at: number, more: Uint8Array): Uint8Array {
  return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
}

/** Every option that the client keeps. */
export const EVERYTHING = {
  6: Uint8Array.of(192, 0, 2, 3, 192, 0, 2, 4),
  12: ascii("host"),
  15: ascii("example.net"),
  26: Uint8Array.of(5, 120),
  33: Uint8Array.of(198, 51, 100, 0, 192, 0, 2, 1),
  52: Uint8Array.of(3),
  58: u32(1000),
  114: ascii("https://portal.example/"),
  119: ascii("\x03foo\x07example\x00\x03bar\xc0\x04"),
  121: Uint8Array.of(0, 192, 0, 2, 1, 24, 203, 0, 113, 192, 0, 2, 9),
};

/** Replies with everything in them: what mutations start from when there are no corpora. */
export const OWN: readonly CorpusFile[] = (["ack", "offer", "nak"] as const).map((type) => ({
  name: `own: ${type} with everything`,
  bytes: replyOf({
    type,
    xid: XID,
    address: ADDRESS,
    options: type === "nak" ? {} : EVERYTHING,
    file: Uint8Array.of(12, 1, 65, 255),
  }),
}));

/** An endless source of messages; the same ones for the same seed and corpora. */
export function mutations(seed: number): () => Uint8Array {
  const random = randomFrom(seed);
  const files = withoutCorpora === false ? corpusFiles() : OWN;
  const replies = files.filter(({ bytes }) => hasCookie(bytes));
  return () => {
    // Half of them from our own, which are answers before they are mutated.
    const from = [OWN, OWN, OWN, OWN, replies, replies, replies, files][random(8)] ?? OWN;
    const bytes = from[random(from.length)]?.bytes ?? new Uint8Array(0);
    // Aimed first, so that now and then it misses.
    return mutated(aimed(bytes), random);
  };
}

function hasCookie(bytes: Uint8Array): boolean {
  return [0x63, 0x82, 0x53, 0x63].every((byte, index) => bytes[OPTIONS_AT - 4 + index] === byte);
}
