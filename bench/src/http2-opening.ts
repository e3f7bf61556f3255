/** The first bytes of a gRPC call over a fresh connection, without a client library. RFC 9113. */

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA = 0;
const HEADERS = 1;
const SETTINGS = 4;
const WINDOW_UPDATE = 8;
const END_STREAM = 1;
const ACK = 1;
const END_HEADERS = 4;

/** Preface, settings, an acknowledgement of the server's in advance, and one request on stream 1. */
export function opening(method: string, message: Uint8Array): Buffer {
  const headers = Buffer.concat(
    [
      [":method", "POST"],
      [":scheme", "http"],
      [":path", method],
      [":authority", "localhost"],
      ["content-type", "application/grpc"],
      ["te", "trailers"],
    ].map(([name = "", value = ""]) => literal(name, value)),
  );
  const length = Buffer.alloc(5);
  length.writeUInt32BE(message.length, 1);
  // So much that no update is needed while the benchmark runs.
  const window = Buffer.from([0x3f, 0, 0, 0]);
  return Buffer.concat([
    Buffer.from(PREFACE),
    frame({ type: SETTINGS, flags: 0, stream: 0 }, Buffer.from([0, 4, 0x3f, 0, 0, 0])),
    frame({ type: WINDOW_UPDATE, flags: 0, stream: 0 }, window),
    frame({ type: SETTINGS, flags: ACK, stream: 0 }, Buffer.alloc(0)),
    frame({ type: HEADERS, flags: END_HEADERS, stream: 1 }, headers),
    frame({ type: DATA, flags: END_STREAM, stream: 1 }, Buffer.concat([length, message])),
  ]);
}

interface FrameHeader {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
}

function frame({ type, flags, stream }: FrameHeader, payload: Buffer): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** HPACK (RFC 7541 §6.2.2): a header without indexing and without Huffman code. */
function literal(name: string, value: string): Buffer {
  const text = (part: string) => Buffer.concat([Buffer.from([part.length]), Buffer.from(part)]);
  return Buffer.concat([Buffer.from([0]), text(name), text(value)]);
}
