import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { CONFIG, mac, receive, replyOf } from "../testing/dhcp4-server.js";
import { decodeReply, encodeMessage, type Outgoing } from "./codec.js";

const XID = 0x1234_5678;
const DISCOVER: Outgoing = {
  message: "discover",
  xid: XID,
  secs: 0,
  leasedAddress: undefined,
  requestedAddress: undefined,
  serverId: undefined,
};

describe("decodeReply() says why not", () => {
  const valid = replyOf({ type: "ack", xid: XID });
  const changed = (at: number, value: number) => {
    const bytes = valid.slice();
    bytes[at] = value;
    return bytes;
  };
  const withOptions = (options: Record<number, Uint8Array | Uint8Array[] | undefined>) =>
    replyOf({ type: "ack", xid: XID, options });
  const cases = [
    { name: "nothing at all", bytes: new Uint8Array(0), want: "too-short" },
    { name: "a header cut short", bytes: valid.subarray(0, 239), want: "too-short" },
    { name: "more than we said we take", bytes: new Uint8Array(1473), want: "too-long" },
    { name: "a request", bytes: changed(0, 1), want: "not-a-reply" },
    { name: "another kind of hardware", bytes: changed(1, 6), want: "wrong-hardware-type" },
    { name: "another length of address", bytes: changed(2, 16), want: "wrong-hardware-type" },
    { name: "another client's", bytes: changed(33, 9), want: "wrong-chaddr" },
    { name: "no cookie", bytes: changed(236, 0), want: "bad-cookie" },
    { name: "no options", bytes: valid.subarray(0, 240), want: "message-type-missing" },
    {
      name: "an option past the end",
      bytes: valid.subarray(0, valid.length - 2),
      want: "options-truncated",
    },
    {
      name: "two message types",
      bytes: withOptions({ 53: [Uint8Array.of(5), Uint8Array.of(6)] }),
      want: "message-type-missing",
    },
    {
      name: "a message type of no meaning",
      bytes: withOptions({ 53: Uint8Array.of(99) }),
      want: "message-type-unexpected",
    },
    {
      name: "FORCERENEW",
      bytes: replyOf({ type: "forcerenew", xid: XID }),
      want: "forcerenew-unauthenticated",
    },
    { name: "no server", bytes: withOptions({ 54: undefined }), want: "server-id-missing" },
    {
      name: "a server of five bytes",
      bytes: withOptions({ 54: Uint8Array.of(192, 0, 2, 1, 0) }),
      want: "server-id-missing",
    },
    {
      name: "a server that is a multicast group",
      bytes: withOptions({ 54: Uint8Array.of(224, 0, 0, 1) }),
      want: "server-id-unusable",
    },
    {
      name: "a NAK without a server",
      bytes: replyOf({ type: "nak", xid: XID, options: { 54: undefined } }),
      want: "server-id-missing",
    },
    {
      name: "another client's identifier (RFC 6842)",
      bytes: withOptions({ 61: Uint8Array.of(1, 2, 0, 0, 0, 0, 9) }),
      want: "client-id-wrong",
    },
  ];
  for (const { name, bytes, want } of cases) {
    test(name, () => assert.deepEqual(decodeReply(bytes, CONFIG), { ok: false, error: want }));
  }
});

test("decodeReply() takes an answer that repeats our identifier", () => {
  const own = { 61: Uint8Array.of(1, 2, 0, 0, 0, 0, 1) };
  assert.ok(decodeReply(replyOf({ type: "ack", xid: XID, options: own }), CONFIG).ok);
});

test("decodeReply() never throws, whatever the bytes", () => {
  const bytes = fc.uint8Array({ maxLength: 600 });
  fc.assert(fc.property(bytes, (payload) => void decodeReply(payload, CONFIG)));
});

test("encodeMessage() pads to the 300 bytes of BOOTP and fits into a packet", () => {
  const config = fc.record({
    mac: fc.constant(mac("02:00:00:00:00:01")),
    clientId: fc.option(fc.uint8Array({ maxLength: 400 }), { nil: undefined }),
    hostName: fc.option(fc.string({ maxLength: 400 }), { nil: undefined }),
    vendorClass: fc.option(fc.string({ minLength: 200, maxLength: 400 }), { nil: undefined }),
    rapidCommit: fc.boolean(),
  });
  const property = fc.property(config, fc.double(), (own, secs) => {
    const payload = encodeMessage(own, { ...DISCOVER, secs: Number.isNaN(secs) ? 0 : secs });
    assert.ok(payload.length >= 300 && payload.length <= 1472);
    const read = receive(payload);
    assert.equal(read.xid, XID);
    assert.equal(read.options.has(80), own.rapidCommit);
    assert.ok((read.options.get(61)?.length ?? 0) >= 2);
  });
  fc.assert(property);
});

test("encodeMessage() sends a configured client identifier, and leaves out what does not fit", () => {
  const clientId = Uint8Array.of(255, 1, 2, 3);
  const sent = (text: string) =>
    receive(encodeMessage({ ...CONFIG, clientId, hostName: text }, DISCOVER)).options;
  assert.deepEqual(sent("host").get(61), clientId);
  assert.ok(sent("host").has(12));
  assert.ok(!sent("höst").has(12) && !sent("").has(12) && !sent("x".repeat(256)).has(12));
});

test("encodeMessage() says little in DECLINE and RELEASE (RFC 2131 table 5)", () => {
  for (const message of ["decline", "release"] as const) {
    const config = { ...CONFIG, hostName: "host", vendorClass: "mnm" };
    const payload = encodeMessage(config, { ...DISCOVER, message });
    assert.deepEqual([...receive(payload).options.keys()], [53, 61]);
  }
});

test("encodeMessage() writes a DISCOVER byte for byte", () => {
  const hex = Buffer.from(encodeMessage(CONFIG, { ...DISCOVER, secs: 7 })).toString("hex");
  const want = [
    "01010600 12345678 0007 0000", // op, htype, hlen, hops, xid, secs, flags
    "00".repeat(16), // ciaddr, yiaddr, siaddr, giaddr
    "020000000001", // chaddr
    "00".repeat(10 + 64 + 128), // its rest, sname, file
    "63825363",
    "350101", // DISCOVER
    "3d0701020000000001", // client identifier
    "390205c0", // 1472 bytes
    "37100179f90321060c0f1a1c2a363a3b7277",
    "ff",
  ];
  assert.equal(hex, want.join("").replaceAll(" ", "").padEnd(600, "0"));
});
