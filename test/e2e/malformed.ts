const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** Type 4, no flags, stream 0, empty. */
const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);

/** After a good beginning: length (3 bytes), type, flags, stream (4 bytes), payload. */
const framed = (...frame: readonly number[]) =>
  Buffer.concat([PREFACE, SETTINGS, Buffer.from(frame)]);

/** Openings of a session that no HTTP/2 client would make. */
export const MALFORMED: readonly { readonly name: string; readonly bytes: Buffer }[] = [
  { name: "HTTP/1.1", bytes: Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") },
  { name: "a third of the preface", bytes: PREFACE.subarray(0, 9) },
  { name: "ones", bytes: Buffer.alloc(4096, 0xff) },
  { name: "text for frames", bytes: Buffer.concat([PREFACE, Buffer.alloc(99, "no frame")]) },
  { name: "headers on stream 0", bytes: framed(0, 0, 1, 1, 4, 0, 0, 0, 0, 0x82) },
  {
    name: "an HPACK index of no header",
    bytes: framed(0, 0, 4, 1, 5, 0, 0, 0, 1, 255, 255, 255, 255),
  },
  { name: "a frame of 16 MB", bytes: framed(255, 255, 255, 0, 0, 0, 0, 0, 1) },
  { name: "no frame but settings", bytes: framed() },
];
