import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { instantFromMs, isHostUnicast, isNetworkOrBroadcast } from "@mnm/proto/net";
import fc from "fast-check";
import { addresses, ascii, u32 } from "../testing/dhcp4-server.js";
import { DhcpSimulation } from "../testing/dhcp4-simulation.js";
import {
  decodeLeaseRecord,
  encodeLeaseRecord,
  isClaimedRecord,
  type Lease,
  leaseOf,
  type RecordClock,
} from "./index.js";

const YEAR_MS = 365 * 86_400_000;
const WALL_MS = 1_780_000_000_000;
const WRITTEN: RecordClock = { now: instantFromMs(500_000), wallMs: WALL_MS, bootId: "boot-1" };

function leaseWith(options: Record<number, Uint8Array> = {}, acquiredMs = 400_000): Lease {
  const client = new DhcpSimulation({}, acquiredMs);
  client.bind({ options });
  const lease = leaseOf(client.state);
  assert.ok(lease !== undefined);
  return lease;
}

const FULL = leaseWith({
  6: addresses("192.0.2.3"),
  12: ascii("host"),
  15: ascii("example.net"),
  26: Uint8Array.of(5, 120),
  28: addresses("192.0.2.255"),
  42: addresses("192.0.2.4"),
  58: u32(60),
  59: u32(120),
  114: ascii("https://portal.example/"),
  119: ascii("\x03foo\x07example\x00"),
  121: Uint8Array.of(0, 192, 0, 2, 9, 24, 203, 0, 113, 192, 0, 2, 9, 24, 198, 51, 100, 0, 0, 0, 0),
});

/** The record of a lease after it was on the disk. */
function stored(lease: Lease): unknown {
  return JSON.parse(JSON.stringify(encodeLeaseRecord(lease, WRITTEN)));
}

describe("a lease record", () => {
  test("brings the lease back, within the same boot", () => {
    for (const lease of [FULL, leaseWith(), leaseWith({ 51: u32(0xffff_ffff) })]) {
      const clock = { ...WRITTEN, now: instantFromMs(600_000) };
      assert.deepEqual(decodeLeaseRecord(stored(lease), clock), { ok: true, value: lease });
    }
  });

  test("says whether the address was claimed; any other value does not", () => {
    const lease = leaseWith();
    const record: unknown = JSON.parse(JSON.stringify(encodeLeaseRecord(lease, WRITTEN, true)));
    assert.equal(isClaimedRecord(record), true);
    assert.deepEqual(decodeLeaseRecord(record, WRITTEN), { ok: true, value: lease });
    for (const value of [stored(lease), undefined, null, 7, "claimed", [true], { claimed: 1 }]) {
      assert.equal(isClaimedRecord(value), false);
    }
  });

  // The lease of an hour was acquired 100 s before it was written.
  const cases = [
    { name: "same boot, wall clock a year ahead", nowMs: 600_000, wall: YEAR_MS, want: "good" },
    { name: "same boot, wall clock a year behind", nowMs: 600_000, wall: -YEAR_MS, want: "good" },
    { name: "same boot, just before expiry", nowMs: 3_999_999, wall: 0, want: "good" },
    { name: "same boot, at expiry", nowMs: 4_000_000, wall: 0, want: "expired" },
    {
      name: "same boot, over, wall clock behind",
      nowMs: 4_000_000,
      wall: -YEAR_MS,
      want: "expired",
    },
    { name: "same boot, acquired in the future", nowMs: 399_999, wall: 0, want: "malformed" },
    { name: "next boot, a minute later", boot: "boot-2", nowMs: 5, wall: 60_000, want: "good" },
    {
      name: "next boot, an hour later",
      boot: "boot-2",
      nowMs: 5,
      wall: 3_500_000,
      want: "expired",
    },
    { name: "next boot, no clock yet", boot: "boot-2", nowMs: 5, wall: -WALL_MS, want: "good" },
    {
      name: "next boot, clock far ahead",
      boot: "boot-2",
      nowMs: 5,
      wall: YEAR_MS,
      want: "expired",
    },
  ];
  for (const { name, boot = "boot-1", nowMs, wall, want } of cases) {
    test(`${name}: ${want}`, () => {
      const clock = { now: instantFromMs(nowMs), wallMs: WALL_MS + wall, bootId: boot };
      const decoded = decodeLeaseRecord(stored(leaseWith()), clock);
      assert.equal(decoded.ok ? "good" : decoded.error.code, want);
    });
  }

  test("after another boot counts on from the time that has passed", () => {
    const clock = { now: instantFromMs(7000), wallMs: WALL_MS + 60_000, bootId: "boot-2" };
    const decoded = decodeLeaseRecord(stored(leaseWith()), clock);
    assert.ok(decoded.ok && decoded.value.timers.kind === "finite");
    assert.equal(decoded.value.timers.expiry, 7000 + 3_600_000 - 160_000);
  });

  test("after another boot with a clock that is behind counts from now, not later", () => {
    const clock = { now: instantFromMs(7000), wallMs: 0, bootId: "boot-2" };
    const decoded = decodeLeaseRecord(stored(leaseWith()), clock);
    assert.ok(decoded.ok);
    assert.equal(decoded.value.acquiredAt, clock.now);
  });

  test("expired still says which address to ask for", () => {
    const clock = { ...WRITTEN, now: instantFromMs(9_000_000) };
    const decoded = decodeLeaseRecord(stored(leaseWith()), clock);
    assert.ok(!decoded.ok && decoded.error.code === "expired");
    assert.deepEqual(decoded.error.lease, leaseWith());
  });

  test("of another version is left alone", () => {
    const decoded = decodeLeaseRecord({ ...Object(stored(FULL)), version: 2 }, WRITTEN);
    assert.deepEqual(decoded, { ok: false, error: { code: "unknown-version", version: 2 } });
  });
});

describe("a damaged lease record", () => {
  const damaged = (terms: Record<string, unknown>) => {
    const record = Object(stored(FULL));
    return decodeLeaseRecord({ ...record, terms: { ...record.terms, ...terms } }, WRITTEN);
  };

  const fatal = [
    { field: "address", value: "224.0.0.1" },
    { field: "address", value: "192.0.2.255" },
    { field: "address", value: 7 },
    { field: "prefixLength", value: 33 },
    { field: "prefixLength", value: "24" },
    { field: "serverId", value: "0.0.0.0" },
    { field: "leaseSec", value: 9 },
    { field: "leaseSec", value: -1 },
    { field: "leaseSec", value: 2 ** 32 },
  ];
  for (const { field, value } of fatal) {
    test(`with ${field} ${JSON.stringify(value)} is none`, () => {
      assert.deepEqual(damaged({ [field]: value }), {
        ok: false,
        error: { code: "malformed", field },
      });
    });
  }

  test("loses what a lease can do without", () => {
    const decoded = damaged({
      gateways: ["192.0.2.50", 7, "127.0.0.1", "192.0.2.9"],
      routes: [
        { destination: "127.0.0.0/8" },
        { destination: "10.0.0.0/8", gateway: "x" },
        null,
        { destination: "10.0.0.0/8", gateway: "192.0.2.9" },
      ],
      dnsServers: "192.0.2.3",
      hostName: "$(reboot)",
      captivePortal: "http://portal.example/",
      searchDomains: ["a b", 1, "example.net"],
      broadcast: "8.8.8.8",
      mtu: 1e9,
    });
    assert.ok(decoded.ok);
    const { terms } = decoded.value;
    assert.equal(terms.gateways.length, 1);
    assert.equal(terms.routes.length, 1);
    assert.deepEqual(terms.dnsServers, []);
    assert.deepEqual([terms.hostName, terms.captivePortal], [undefined, undefined]);
    assert.deepEqual(terms.searchDomains, ["example.net"]);
    assert.deepEqual([terms.broadcast, terms.mtu], [undefined, undefined]);
  });

  test("never throws, and brings back only leases that can be used", () => {
    const text = JSON.stringify(stored(FULL));
    const json = fc.tuple(
      fc.nat({ max: text.length - 1 }),
      fc.nat({ max: 3 }),
      fc.string({ maxLength: 3 }),
    );
    let good = 0;
    const check = (value: unknown) => {
      const decoded = decodeLeaseRecord(value, WRITTEN);
      if (!decoded.ok) return;
      good += 1;
      const { address, prefixLength } = decoded.value.terms;
      assert.ok(isHostUnicast(address) && !isNetworkOrBroadcast(address, prefixLength));
      assert.ok(decoded.value.terms.leaseSec >= 10);
    };
    fc.assert(fc.property(fc.anything(), check));
    fc.assert(
      fc.property(json, ([at, cut, added]) => {
        try {
          check(JSON.parse(text.slice(0, at) + added + text.slice(at + cut)));
        } catch (error) {
          assert.ok(error instanceof SyntaxError);
        }
      }),
      { numRuns: 5000, seed: 20260104 },
    );
    assert.ok(good > 100, `${good} records were still good`);
  });
});
