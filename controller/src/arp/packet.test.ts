import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ipv4, mac } from "../testing/dhcp4-server.js";
import { decodeArp } from "./index.js";

/** An ARP reply: 192.0.2.1 is at 02:00:00:00:00:fe. */
const REPLY = [
  "0001 0800 06 04 0002", //      Ethernet, IPv4, their lengths, reply
  "0200000000fe c0000201", //     sender: MAC, address
  "020000000001 c0000232", //     target: MAC, address
].join(" ");

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex.replaceAll(" ", ""), "hex"));
}

function outcome(bytes: Uint8Array): unknown {
  const decoded = decodeArp(bytes);
  return decoded.ok ? decoded.value : decoded.error.code;
}

describe("decodeArp()", () => {
  const reply = {
    operation: "reply",
    senderMac: mac("02:00:00:00:00:fe"),
    sender: ipv4("192.0.2.1"),
    target: ipv4("192.0.2.50"),
  };
  const probe = REPLY.replace("0002 02", "0001 02").replace("c0000201", "00000000");
  const cases = [
    { name: "reads a reply", hex: REPLY, want: reply },
    { name: "passes over padding", hex: `${REPLY}${" 00".repeat(18)}`, want: reply },
    {
      name: "reads a probe",
      hex: probe,
      want: { ...reply, operation: "request", sender: ipv4("0.0.0.0") },
    },
    { name: "refuses 27 bytes", hex: REPLY.slice(0, -2), want: "truncated" },
    { name: "refuses an empty packet", hex: "", want: "truncated" },
    {
      name: "refuses another hardware type",
      hex: REPLY.replace("0001 0800", "0006 0800"),
      want: "not-ipv4-on-ethernet",
    },
    {
      name: "refuses another protocol",
      hex: REPLY.replace("0001 0800", "0001 86dd"),
      want: "not-ipv4-on-ethernet",
    },
    {
      name: "refuses another length of MACs",
      hex: REPLY.replace("06 04", "08 04"),
      want: "not-ipv4-on-ethernet",
    },
    {
      name: "refuses another length of addresses",
      hex: REPLY.replace("06 04", "06 10"),
      want: "not-ipv4-on-ethernet",
    },
    {
      name: "refuses operation 0",
      hex: REPLY.replace("04 0002", "04 0000"),
      want: "operation-unknown",
    },
    {
      name: "refuses a reverse request",
      hex: REPLY.replace("04 0002", "04 0003"),
      want: "operation-unknown",
    },
    {
      name: "refuses operation 258, whose low byte is 2",
      hex: REPLY.replace("04 0002", "04 0102"),
      want: "operation-unknown",
    },
  ];
  for (const { name, hex, want } of cases) {
    test(name, () => assert.deepEqual(outcome(bytesOf(hex)), want));
  }

  test("never throws, and takes nothing but what it claims to read", () => {
    // Random bytes are never ARP, so most start as such and are changed in one place.
    const changed = fc
      .tuple(fc.nat({ max: 27 }), fc.nat({ max: 255 }), fc.nat({ max: 40 }))
      .map(([at, value, length]) => {
        const bytes = new Uint8Array(40);
        bytes.set(bytesOf(REPLY));
        bytes[at] = value;
        return bytes.slice(0, length);
      });
    let taken = 0;
    const property = fc.property(fc.oneof(changed, fc.uint8Array({ maxLength: 64 })), (bytes) => {
      const decoded = decodeArp(bytes);
      if (!decoded.ok) return;
      taken += 1;
      assert.ok(bytes.length >= 28);
      assert.deepEqual([...bytes.slice(0, 7)], [0, 1, 8, 0, 6, 4, 0]);
      assert.equal(bytes[7], decoded.value.operation === "request" ? 1 : 2);
    });
    fc.assert(property, { numRuns: 2000, seed: 20260201 });
    assert.ok(taken > 200, `${taken} packets were taken`);
  });
});
