import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ipv4FromUint32 } from "./ipv4.js";
import { encodeUdpPacket, readUdpPacket } from "./udp-packet.js";

const ENDPOINTS = {
  source: ipv4FromUint32(0xc000_0201),
  sourcePort: 67,
  destination: ipv4FromUint32(0xc000_0202),
  destinationPort: 68,
};
const PAYLOAD = Uint8Array.of(1, 2, 3);
const VALID = encodeUdpPacket(ENDPOINTS, PAYLOAD);

/** The packet with bytes put over it from `at` on, and the IP checksum made right again. */
function changed(at: number, ...bytes: readonly number[]): Uint8Array {
  const packet = Uint8Array.from(VALID);
  packet.set(bytes, at);
  packet.set([0, 0], 10);
  let sum = 0;
  for (let word = 0; word < 20; word += 2)
    sum += (packet[word] ?? 0) * 256 + (packet[word + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  packet.set([(~sum >>> 8) & 0xff, ~sum & 0xff], 10);
  return packet;
}

test("encodeUdpPacket() writes what another implementation writes", () => {
  // 192.0.2.1:67 → 192.0.2.2:68 with payload 01 02 03; checksums computed with Python.
  const hex = "4500001f00004000 4011b6ca c0000201c0000202 00430044000b 774b 010203";
  assert.equal(Buffer.from(VALID).toString("hex"), hex.replaceAll(" ", ""));
});

describe("readUdpPacket()", () => {
  const cases = [
    { name: "accepts what encodeUdpPacket() made", packet: VALID, want: "ok" },
    { name: "cuts padding off", packet: Uint8Array.from([...VALID, 0, 0, 0]), want: "ok" },
    { name: "accepts a packet without a UDP checksum", packet: changed(26, 0, 0), want: "ok" },
    { name: "refuses a cut packet", packet: VALID.subarray(0, -1), want: "truncated" },
    { name: "refuses a cut header", packet: VALID.subarray(0, 19), want: "truncated" },
    { name: "refuses options beyond the end", packet: changed(0, 0x4f), want: "truncated" },
    { name: "refuses IPv6", packet: changed(0, 0x65), want: "not-udp" },
    { name: "refuses a header of 16 bytes", packet: changed(0, 0x44), want: "not-udp" },
    { name: "refuses TCP", packet: changed(9, 6), want: "not-udp" },
    { name: "refuses a first fragment", packet: changed(6, 0x20), want: "fragment" },
    { name: "refuses a later fragment", packet: changed(7, 1), want: "fragment" },
    {
      name: "refuses a wrong IP checksum",
      packet: Uint8Array.from(VALID, (byte, at) => (at === 10 ? byte ^ 1 : byte)),
      want: "ip-checksum",
    },
    { name: "refuses UDP beyond the IP packet", packet: changed(25, 12), want: "udp-length" },
    { name: "refuses UDP shorter than its header", packet: changed(25, 7), want: "udp-length" },
    { name: "refuses a wrong UDP checksum", packet: changed(28, 9), want: "udp-checksum" },
  ];
  for (const { name, packet, want } of cases) {
    test(name, () => {
      const read = readUdpPacket(packet, true);
      assert.equal(read.ok ? "ok" : read.error.code, want);
      if (read.ok) assert.deepEqual([...read.value.payload], [...PAYLOAD]);
    });
  }

  test("does not look at a UDP checksum that is still to be computed", () => {
    assert.equal(readUdpPacket(changed(28, 9), false).ok, true);
  });

  test("gives back any payload, and never throws", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1472 }), (payload) => {
        const read = readUdpPacket(encodeUdpPacket(ENDPOINTS, payload), true);
        assert.deepEqual(read, { ok: true, value: { source: ENDPOINTS.source, payload } });
        readUdpPacket(payload, true);
      }),
    );
  });
});
