// HTTP/2 sessions that no client would make, byte by byte (RFC 9113, RFC 7541).
import type { Random } from "./churn.js";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const TYPE = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;
const END_STREAM = 1;
const END_HEADERS = 4;
const ACK = 1;

/** The bytes of one session; it ends when they are sent, or stays open with nothing more to say. */
export interface Session {
  readonly bytes: Buffer;
  readonly staysOpen: boolean;
}

/**
 * A session of one of the shapes below, with what they leave open chosen at random. With
 * `saysHello`, all that is wrong comes after a Hello as it should be.
 */
export function makeSession(random: Random, saysHello: boolean): Session {
  const shape = SHAPES[random(SHAPES.length)] ?? badPreface;
  const whole = saysHello ? afterHello(shape(random)) : shape(random);
  // Any of them may stop at any byte.
  const bytes = random(4) === 0 ? whole.subarray(0, random(whole.length + 1)) : whole;
  return { bytes, staysOpen: random(10) === 0 };
}

const SHAPES: readonly ((random: Random) => Buffer)[] = [
  badPreface,
  randomFrames,
  settingsFlood,
  continuationFlood,
  badHeaderBlock,
  pingFlood,
  rapidReset,
  tooManyStreams,
  badStreams,
  badCalls,
  badWindows,
  verbsOutOfState,
];

function badPreface(random: Random): Buffer {
  const texts = [
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "PRI * HTTP/1.0\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01",
  ];
  const text = texts[random(texts.length)];
  return text === undefined ? noise(random, 1 + random(300)) : Buffer.from(text, "latin1");
}

function randomFrames(random: Random): Buffer {
  const frames = many(1 + random(40), () => {
    const payload = noise(random, random(60));
    const one = frame(random(16), random(256), random(9), payload);
    // The length that it states is often another one.
    if (random(3) === 0) one.writeUIntBE(random(2) === 0 ? random(100) : random(0x100_0000), 0, 3);
    return one;
  });
  return opened(...frames);
}

function settingsFlood(random: Random): Buffer {
  const entry = () => noise(random, 6);
  const size = random(2) === 0 ? 6 : random(20);
  const frames = many(1 + random(300), () => {
    const payload = size === 6 ? entry() : noise(random, size);
    return frame(TYPE.SETTINGS, random(20) === 0 ? ACK : 0, random(30) === 0 ? 1 : 0, payload);
  });
  return opened(...frames);
}

function continuationFlood(random: Random): Buffer {
  const block = () => field(`x-${random(1000)}`, "y".repeat(random(2000)));
  const frames = many(random(60), () =>
    frame(TYPE.CONTINUATION, 0, random(50) === 0 ? 3 : 1, block()),
  );
  return opened(frame(TYPE.HEADERS, 0, 1, requestBlock("Hello")), ...frames);
}

function badHeaderBlock(random: Random): Buffer {
  const blocks = [
    () => noise(random, 1 + random(200)),
    // An index that no table has; a table size beyond all limits; a length that never ends.
    () => Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]),
    () => Buffer.from([0x3f, 0xff, 0xff, 0xff, 0x7f]),
    () => Buffer.from([0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    // Not a request: no path, a path twice, an upper-case name, a header of one connection.
    () => field(":method", "POST"),
    () => Buffer.concat([requestBlock("Hello"), field(":path", "/again")]),
    () => Buffer.concat([requestBlock("Hello"), field("Upper", "x")]),
    () => Buffer.concat([requestBlock("Hello"), field("connection", "close")]),
    () => Buffer.concat(many(1000, () => field("a", ""))),
  ];
  const block = (blocks[random(blocks.length)] ?? (() => Buffer.alloc(0)))();
  return opened(...headers(block, 1));
}

function pingFlood(random: Random): Buffer {
  const size = random(4) === 0 ? random(20) : 8;
  return opened(...many(1 + random(500), () => frame(TYPE.PING, 0, 0, noise(random, size))));
}

function rapidReset(random: Random): Buffer {
  const code = Buffer.from([0, 0, 0, 8]);
  return opened(
    ...many(1 + random(60), (at) => [
      ...headers(requestBlock("Hello"), 1 + 2 * at),
      frame(TYPE.RST_STREAM, 0, 1 + 2 * at, code),
    ]).flat(),
  );
}

/** More than eight at once, each waiting for its message. */
function tooManyStreams(random: Random): Buffer {
  const verbs = ["Hello", "Apply", "ReceiveDhcp", "PurgeOwned"];
  const block = () => requestBlock(verbs[random(verbs.length)] ?? "Hello");
  return opened(...many(9 + random(60), (at) => headers(block(), 1 + 2 * at)).flat());
}

function badStreams(random: Random): Buffer {
  const block = requestBlock("Hello");
  return opened(
    ...many(1 + random(6), () => {
      const id = [0, 2, 1, 0x7fff_ffff, 3][random(5)] ?? 0;
      const types = [TYPE.HEADERS, TYPE.DATA, TYPE.PUSH_PROMISE, TYPE.PRIORITY, TYPE.GOAWAY];
      return frame(
        types[random(types.length)] ?? 0,
        random(256),
        id,
        random(2) === 0 ? block : noise(random, 5),
      );
    }),
  );
}

/** Bytes that are no message of gRPC, or not one of the contract. */
function badCalls(random: Random): Buffer {
  const prefix = (compressed: number, length: number) => {
    const bytes = Buffer.alloc(5);
    bytes.writeUInt8(compressed, 0);
    bytes.writeUInt32BE(length, 1);
    return bytes;
  };
  const sizes = [0, 1, 100, 65_536, 65_537, 0x7fff_ffff, 0xffff_ffff];
  const size = sizes[random(sizes.length)] ?? 0;
  const body = Buffer.concat([prefix(random(3), size), noise(random, random(300))]);
  const isEnd = random(2);
  return opened(...headers(requestBlock("Apply"), 1), frame(TYPE.DATA, isEnd, 1, body));
}

function badWindows(random: Random): Buffer {
  const increment = Buffer.alloc(4);
  increment.writeUInt32BE(random(2) === 0 ? 0 : 0x7fff_ffff);
  const id = random(2);
  return opened(...many(1 + random(100), () => frame(TYPE.WINDOW_UPDATE, 0, id, increment)));
}

/** Well-formed, and none that comes before Hello. */
function verbsOutOfState(random: Random): Buffer {
  const verbs = ["Apply", "PurgeOwned", "OpenPackets", "SendDhcp", "ReceiveDhcp", "Nothing"];
  const block = requestBlock(verbs[random(verbs.length)] ?? "Apply");
  return opened(...headers(block, 1), frame(TYPE.DATA, END_STREAM, 1, Buffer.alloc(5)));
}

/** Streams that all wait for their message. */
export function manyStreams(count: number): Buffer {
  return opened(...many(count, (at) => headers(requestBlock("Hello"), 1 + 2 * at)).flat());
}

/** The frames of what the other end sent; `code` are the first four bytes of what is in them. */
export function framesOf(
  bytes: Buffer,
): readonly { readonly type: number; readonly code: number }[] {
  const frames: { type: number; code: number }[] = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    const code = at + 13 <= bytes.length ? bytes.readUInt32BE(at + 9) : 0;
    frames.push({ type: bytes.readUInt8(at + 3), code });
  }
  return frames;
}

/** The same, with a Hello as the first stream and the numbers of all others behind it. */
function afterHello(session: Buffer): Buffer {
  const start = PREFACE.length + 9;
  if (!session.subarray(0, PREFACE.length).equals(PREFACE)) return session;
  const rest = Buffer.from(session.subarray(start));
  for (let at = 0; at + 9 <= rest.length; at += 9 + rest.readUIntBE(at, 3)) {
    const id = rest.readUInt32BE(at + 5);
    if (id !== 0) rest.writeUInt32BE((id + 2) >>> 0, at + 5);
  }
  const hello = frame(TYPE.DATA, END_STREAM, 1, Buffer.from([0, 0, 0, 0, 2, 8, 1]));
  const first = [...headers(requestBlock("Hello"), 1), hello];
  return Buffer.concat([session.subarray(0, start), ...first, rest]);
}

function opened(...frames: readonly Buffer[]): Buffer {
  return Buffer.concat([PREFACE, frame(TYPE.SETTINGS, 0, 0, Buffer.alloc(0)), ...frames]);
}

function headers(block: Buffer, id: number): readonly Buffer[] {
  // As large as a frame may be before the other end says otherwise.
  const first = frame(
    TYPE.HEADERS,
    block.length <= 16_384 ? END_HEADERS : 0,
    id,
    block.subarray(0, 16_384),
  );
  const rest = block.subarray(16_384);
  return rest.length === 0 ? [first] : [first, frame(TYPE.CONTINUATION, END_HEADERS, id, rest)];
}

function requestBlock(verb: string): Buffer {
  return Buffer.concat([
    field(":method", "POST"),
    field(":scheme", "http"),
    field(":path", `/mnm.helper.v1.Helper/${verb}`),
    field(":authority", "localhost"),
    field("content-type", "application/grpc"),
    field("te", "trailers"),
  ]);
}

/** Literal, not indexed, not Huffman-coded: RFC 7541 §6.2.2. */
function field(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}

function text(value: string): Buffer {
  const length: number[] = [];
  let rest = value.length;
  if (rest < 127) return Buffer.concat([Buffer.from([rest]), Buffer.from(value, "latin1")]);
  for (rest -= 127; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) | 128);
  return Buffer.concat([Buffer.from([127, ...length, rest]), Buffer.from(value, "latin1")]);
}

function frame(type: number, flags: number, id: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags & 255, 4);
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

function noise(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)));
}

function many<T>(length: number, make: (at: number) => T): readonly T[] {
  return Array.from({ length }, (_, at) => make(at));
}
