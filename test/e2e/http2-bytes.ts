/** HTTP/2 by the byte, RFC 9113: what no library would send. */

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

const DATA = 0;
const HEADERS = 1;
const PRIORITY = 2;
const RST_STREAM = 3;
const SETTINGS = 4;
const PUSH_PROMISE = 5;
const PING = 6;
const GOAWAY = 7;
const WINDOW_UPDATE = 8;
const CONTINUATION = 9;

const END_STREAM = 1;
const END_HEADERS = 4;

interface Frame {
  readonly type: number;
  readonly flags?: number;
  readonly stream?: number;
  readonly payload?: Buffer;
}

function frame({ type, flags = 0, stream = 0, payload = Buffer.alloc(0) }: Frame): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** How every session begins. */
export const OPENING = Buffer.concat([PREFACE, frame({ type: SETTINGS })]);

/** A string of RFC 7541 §5.2, without Huffman coding. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

/** Literal header fields without indexing, RFC 7541 §6.2.2. */
function headerBlock(fields: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(
    Object.entries(fields).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  );
}

const CALL = {
  ":method": "POST",
  ":scheme": "http",
  ":path": "/mnm.v1.NetworkManager/GetStatus",
  ":authority": "localhost",
  te: "trailers",
  "content-type": "application/grpc",
};

function headers(stream: number, more: Readonly<Record<string, string>> = {}): Buffer {
  const payload = headerBlock({ ...CALL, ...more });
  return frame({ type: HEADERS, flags: END_HEADERS, stream, payload });
}

/** An empty message, and the end of the request. */
function emptyMessage(stream: number): Buffer {
  return frame({ type: DATA, flags: END_STREAM, stream, payload: Buffer.alloc(5) });
}

/** A GetStatus in a session of its own, as it should be. */
export function goodSession(): Buffer {
  return Buffer.concat([OPENING, headers(1), emptyMessage(1)]);
}

const repeated = (one: Buffer, size = 64 * 1024): Buffer =>
  Buffer.concat(Array.from({ length: Math.ceil(size / one.length) }, () => one));

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export interface Flood {
  readonly name: string;
  readonly beginning: Buffer;
  /** Sent again and again after it, by the number of the round. */
  readonly round: (n: number) => Buffer;
}

function flood(name: string, one: Frame, beginning = OPENING): Flood {
  const bytes = repeated(frame(one));
  return { name, beginning, round: () => bytes };
}

/** Streams opened and reset at once: CVE-2023-44487. */
function rapidReset(n: number): Buffer {
  const rounds = Array.from({ length: 100 }, (_, index) => 2 * (n * 100 + index) + 1);
  return Buffer.concat(
    rounds.flatMap((stream) => [
      headers(stream),
      frame({ type: RST_STREAM, stream, payload: uint32(8) }),
    ]),
  );
}

/** Streams that end before they begin: each gets an answer. */
function unknownMethods(n: number): Buffer {
  const rounds = Array.from({ length: 100 }, (_, index) => 2 * (n * 100 + index) + 1);
  return Buffer.concat(
    rounds.flatMap((stream) => [
      headers(stream, { ":path": "/mnm.v1.NetworkManager/__proto__" }),
      emptyMessage(stream),
    ]),
  );
}

const openBlock = frame({ type: HEADERS, stream: 1, payload: headerBlock(CALL) });
const fieldOf16KB = headerBlock({ x: "a".repeat(16_000) });

/** Frames that are sent as fast as they are read. */
export const FLOODS: readonly Flood[] = [
  flood("SETTINGS", { type: SETTINGS }),
  flood("SETTINGS that change something", {
    type: SETTINGS,
    payload: Buffer.from([0, 1, 0, 0, 16, 0]),
  }),
  flood("PING", { type: PING, payload: Buffer.alloc(8) }),
  flood("answers to no PING", { type: PING, flags: 1, payload: Buffer.alloc(8) }),
  flood("WINDOW_UPDATE", { type: WINDOW_UPDATE, payload: uint32(1) }),
  flood("PRIORITY", { type: PRIORITY, stream: 1, payload: Buffer.from([0, 0, 0, 0, 16]) }),
  flood("RST_STREAM", { type: RST_STREAM, stream: 1, payload: uint32(8) }),
  flood("frames of a type that nobody knows", { type: 99 }),
  flood("empty DATA", { type: DATA, stream: 1 }, Buffer.concat([OPENING, headers(1)])),
  flood(
    "empty CONTINUATION (CVE-2019-9518)",
    { type: CONTINUATION, stream: 1 },
    Buffer.concat([OPENING, openBlock]),
  ),
  flood(
    "CONTINUATION without an end (CVE-2024-27983)",
    { type: CONTINUATION, stream: 1, payload: headerBlock({ x: "y" }) },
    Buffer.concat([OPENING, openBlock]),
  ),
  flood(
    "a header block of megabytes",
    { type: CONTINUATION, stream: 1, payload: fieldOf16KB },
    Buffer.concat([OPENING, openBlock]),
  ),
  { name: "rapid reset (CVE-2023-44487)", beginning: OPENING, round: rapidReset },
  { name: "calls of methods that do not exist", beginning: OPENING, round: unknownMethods },
];

/** A whole number below `limit`. */
export type Random = (limit: number) => number;

/** Numbers that follow from the seed alone: mulberry32. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

const noise = (random: Random, length: number): Buffer =>
  Buffer.from(Array.from({ length }, () => random(256)));

function randomFrame(random: Random): Buffer {
  return frame({
    type: random(12),
    flags: random(256),
    stream: [0, 1, 2, 3, random(2 ** 31)][random(5)] ?? 0,
    payload: noise(random, random(64)),
  });
}

/** Some of these are half-open: nothing is wrong with what was sent, but it is not all. */
const SESSIONS: readonly ((random: Random) => Buffer)[] = [
  (random) => PREFACE.subarray(0, random(PREFACE.length)),
  (random) => noise(random, 1 + random(200)),
  (random) => Buffer.concat([PREFACE, noise(random, 9 + random(300))]),
  (random) => goodSession().subarray(0, OPENING.length + random(200)),
  (random) => Buffer.concat([OPENING, ...Array.from({ length: 20 }, () => randomFrame(random))]),
  (random) => {
    const bytes = goodSession();
    for (let count = 1 + random(3); count > 0; count -= 1) {
      bytes.writeUInt8(random(256), random(bytes.length));
    }
    return bytes;
  },
  (random) => {
    const payload = noise(random, 1 + random(100));
    const block = { type: HEADERS, flags: END_HEADERS | END_STREAM, stream: 1, payload };
    return Buffer.concat([OPENING, frame(block)]);
  },
  () => Buffer.concat([OPENING, frame({ type: GOAWAY, payload: Buffer.alloc(8) }), headers(1)]),
  () => Buffer.concat([OPENING, headers(3), headers(1)]),
  () => Buffer.concat([OPENING, headers(2)]),
  () => Buffer.concat([OPENING, frame({ type: PUSH_PROMISE, stream: 1, payload: uint32(2) })]),
  () => Buffer.concat([OPENING, frame({ type: DATA, stream: 5, payload: Buffer.alloc(100) })]),
  () => {
    const update = frame({ type: WINDOW_UPDATE, payload: uint32(2 ** 31 - 1) });
    return Buffer.concat([OPENING, update, update]);
  },
  () => Buffer.concat([OPENING, headers(1, { [":path"]: "/\u0000" }), emptyMessage(1)]),
  () => Buffer.concat([OPENING, headers(1, { "grpc-timeout": "99999999H" }), emptyMessage(1)]),
  () => Buffer.concat([OPENING, headers(1, { "content-length": "-1" }), emptyMessage(1)]),
  // Sixteen megabytes are announced, and never come.
  () => Buffer.concat([OPENING, Buffer.from([255, 255, 255, 0, 0, 0, 0, 0, 1])]),
  (random) => Buffer.concat([OPENING, rapidReset(0)]).subarray(0, random(20_000)),
  () => Buffer.concat([OPENING, openBlock, frame({ type: PING, payload: Buffer.alloc(8) })]),
  () => goodSession(),
];

/** What somebody sends at the socket who wants to know what happens. */
export function malformedSession(random: Random): Buffer {
  return SESSIONS[random(SESSIONS.length)]?.(random) ?? Buffer.alloc(0);
}
