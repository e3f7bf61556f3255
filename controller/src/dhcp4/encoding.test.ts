import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeUdpPacket, ipv4FromUint32 } from "@mnm/proto/net";
import fc from "fast-check";
import { mac, receive } from "../testing/dhcp4-server.js";
import { encodeMessage, type Outgoing } from "./codec.js";

const MTU = 1500;

const ADDRESS = fc.option(fc.nat(0xffff_ffff).map(ipv4FromUint32), { nil: undefined });

const OUTGOING: fc.Arbitrary<Outgoing> = fc.record({
  message: fc.constantFrom("discover", "request", "decline", "release"),
  xid: fc.nat(0xffff_ffff),
  secs: fc.double({ noNaN: true }),
  leasedAddress: ADDRESS,
  requestedAddress: ADDRESS,
  serverId: ADDRESS,
});

const CONFIG = fc.record({
  mac: fc.constant(mac("02:00:00:00:00:01")),
  clientId: fc.option(fc.uint8Array({ maxLength: 70_000 }), { nil: undefined }),
  hostName: fc.option(fc.string({ maxLength: 2000 }), { nil: undefined }),
  vendorClass: fc.option(fc.string({ maxLength: 2000 }), { nil: undefined }),
  rapidCommit: fc.boolean(),
});

test("encodeMessage(): every message of any configuration fits into a packet and can be read", () => {
  const property = fc.property(CONFIG, OUTGOING, (config, outgoing) => {
    const payload = encodeMessage(config, outgoing);
    const addresses = { source: ipv4FromUint32(0), destination: ipv4FromUint32(0xffff_ffff) };
    const packet = encodeUdpPacket({ ...addresses, sourcePort: 68, destinationPort: 67 }, payload);
    assert.ok(packet.length <= MTU, `${packet.length} bytes`);
    const { xid, options } = receive(payload);
    assert.equal(xid, outgoing.xid);
    assert.equal(options.has(50), outgoing.requestedAddress !== undefined);
    assert.equal(options.has(54), outgoing.serverId !== undefined);
  });
  fc.assert(property, { numRuns: 500 });
});

test("encodeMessage(): what a message says does not depend on the one before it", () => {
  const property = fc.property(CONFIG, OUTGOING, OUTGOING, (config, first, second) => {
    const alone = encodeMessage(config, second);
    encodeMessage(config, first).fill(0xff);
    assert.deepEqual(encodeMessage(config, second), alone);
    // sname and file, in which CVE-2021-26676 sent what was on the stack.
    assert.ok(alone.subarray(44, 236).every((byte) => byte === 0));
  });
  fc.assert(property);
});
