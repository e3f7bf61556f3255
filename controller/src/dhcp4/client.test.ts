import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ADDRESS, addresses, ascii, ipv4, replyOf, SERVER, u32 } from "../testing/dhcp4-server.js";
import { DhcpSimulation } from "../testing/dhcp4-simulation.js";
import { deadline, type Lease, leaseOf } from "./index.js";

/** The lease that the client in the simulation has. */
function heldBy(client: DhcpSimulation): Lease {
  const lease = leaseOf(client.state);
  assert.ok(lease !== undefined);
  return lease;
}

function leaseFor(leaseSec: number): Lease {
  const client = new DhcpSimulation();
  client.bind({ options: { 51: u32(leaseSec) } });
  return heldBy(client);
}

describe("acquiring", () => {
  test("takes the first offer, and counts from its request", () => {
    const client = new DhcpSimulation();
    client.start();
    client.advanceTo(1);
    client.reply({ type: "offer" });
    client.advanceTo(2);
    client.reply({ type: "ack" });
    assert.deepEqual(client.log, ["0s send discover", "1s send request", "2s bound 192.0.2.50"]);
    assert.equal(deadline(client.state), 1_801_000, "T1 of the request at 1s, not the ACK at 2s");
  });

  test("repeats the DISCOVER after 4, 8, 16, 32, 64, 64 seconds", () => {
    const client = new DhcpSimulation();
    client.start();
    client.advanceTo(200);
    assert.deepEqual(client.sentAtSec.map(Math.round), [0, 4, 12, 28, 60, 124, 188]);
    assert.equal(client.last.secs, 188);
  });

  test("takes an offer that comes after the next DISCOVER", () => {
    const client = new DhcpSimulation();
    client.start();
    const { xid } = client.last;
    client.advanceTo(5);
    client.reply({ type: "offer", xid });
    assert.equal(client.state.kind, "requesting");
    assert.equal(client.last.xid, xid);
  });

  test("the REQUEST repeats xid and secs of the DISCOVER", () => {
    const client = new DhcpSimulation();
    client.start();
    client.advanceTo(13);
    const discover = client.last;
    client.sleepTo(15);
    client.reply({ type: "offer" });
    assert.equal(client.last.type, "request");
    assert.equal(client.last.secs, discover.secs);
    assert.equal(discover.secs, 12);
    assert.deepEqual(client.last.options.get(50), addresses("192.0.2.50"));
    assert.deepEqual(client.last.options.get(54), addresses("192.0.2.1"));
    assert.equal(client.last.ciaddr, 0);
  });

  test("starts over when nobody answers four requests, asking for the same address", () => {
    const client = new DhcpSimulation();
    client.start();
    client.reply({ type: "offer" });
    client.advanceTo(61);
    assert.deepEqual(client.log, [
      "0s send discover",
      "0s send request",
      "4s send request",
      "12s send request",
      "28s send request",
      "60s send discover",
    ]);
    assert.deepEqual(client.last.options.get(50), addresses("192.0.2.50"));
  });

  test("of two servers only the chosen one counts", () => {
    const client = new DhcpSimulation();
    const other = { 54: addresses("192.0.2.2") };
    client.start();
    client.reply({ type: "offer" });
    client.reply({ type: "offer", options: other });
    client.reply({ type: "ack", options: other });
    client.reply({ type: "nak", options: other });
    client.reply({ type: "ack" });
    assert.deepEqual(client.log.slice(2), [
      "0s ignored not-expected",
      "0s ignored wrong-server",
      "0s ignored wrong-server",
      "0s bound 192.0.2.50",
    ]);
  });

  test("passes over an offer that it could not use, and takes a better one", () => {
    const client = new DhcpSimulation();
    client.start();
    client.reply({ type: "offer", options: { 51: u32(9) } });
    client.reply({ type: "offer", address: ipv4("192.0.2.255") });
    client.reply({ type: "offer", options: { 51: u32(10) } });
    assert.deepEqual(client.log.slice(1), [
      "0s ignored lease-too-short",
      "0s ignored address-unusable",
      "0s send request",
    ]);
  });

  test("declines an ACK of less than ten seconds, and waits longer each time", () => {
    const client = new DhcpSimulation();
    client.server = ({ type }) => {
      if (type === "discover") return { type: "offer" };
      return type === "request" ? { type: "ack", options: { 51: u32(1) } } : undefined;
    };
    client.start();
    client.advanceTo(80);
    assert.deepEqual(client.log.slice(0, 5), [
      "0s send discover",
      "0s send request",
      "0s ignored lease-too-short",
      "0s send decline",
      "10.5s send discover",
    ]);
    const discovers = client.log.filter((line) => line.endsWith("discover"));
    assert.deepEqual(discovers.map(Number.parseFloat), [0, 10.5, 31.5, 73.5]);
  });

  test("an ACK that comes after its lease is over brings none", () => {
    const client = new DhcpSimulation();
    client.start();
    client.reply({ type: "offer" });
    client.advanceTo(20);
    client.reply({ type: "ack", options: { 51: u32(15) } });
    assert.equal(client.log.at(-1), "20s ignored lease-already-over");
  });
});

describe("rapid commit", () => {
  const options = { 80: new Uint8Array(0) };

  test("an ACK that answers the DISCOVER is a lease, from the DISCOVER that it answers", () => {
    const client = new DhcpSimulation({ rapidCommit: true });
    client.start();
    client.advanceTo(100_000);
    assert.ok(client.last.options.has(80));
    const sentAt = client.sentAtSec.at(-1) ?? 0;
    client.reply({ type: "ack", options });
    assert.equal(client.state.kind, "bound");
    assert.equal(heldBy(client).acquiredAt, sentAt * 1000);
  });

  test("a server without it is asked as usual", () => {
    const client = new DhcpSimulation({ rapidCommit: true });
    client.bind();
    assert.equal(client.state.kind, "bound");
  });

  test("an ACK without option 80 is none", () => {
    const client = new DhcpSimulation({ rapidCommit: true });
    client.start();
    client.reply({ type: "ack" });
    assert.equal(client.log.at(-1), "0s ignored not-expected");
  });
});

describe("NAK", () => {
  test("the first costs no time, and the refused address is not asked for again", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(1800);
    client.reply({ type: "nak" });
    assert.deepEqual(client.log.slice(-2), [
      "1800s lost 192.0.2.50 refused",
      "1800s send discover",
    ]);
    assert.ok(!client.last.options.has(50));
  });

  test("a thousand in a row cost at most ten packets in any minute, and wait up to 30 minutes", () => {
    const client = new DhcpSimulation();
    let naks = 0;
    client.server = ({ type }) => {
      if (type === "request") naks += 1;
      return { type: type === "discover" ? "offer" : "nak" };
    };
    client.start();
    client.advanceTo(2_000_000);
    assert.ok(naks >= 1000, `${naks} NAKs`);
    const busiest = client.sentAtSec.map(
      (from) => client.sentAtSec.filter((at) => at >= from && at < from + 60).length,
    );
    assert.equal(Math.max(...busiest), 10);
    const gaps = client.sentAtSec.map((at, index) => at - (client.sentAtSec[index - 1] ?? at));
    assert.equal(Math.round(Math.max(...gaps)), 1890, "30 minutes and half of a tenth");
  });

  test("an ACK between two NAKs does not start the back-off anew", () => {
    const client = new DhcpSimulation();
    client.server = ({ type, ciaddr }) => {
      if (type === "discover") return { type: "offer", options: { 51: u32(20) } };
      return ciaddr === 0 ? { type: "ack", options: { 51: u32(20) } } : { type: "nak" };
    };
    client.start();
    client.advanceTo(600);
    const losses = client.log.filter((line) => line.endsWith("refused")).length;
    assert.ok(losses <= 8, `${losses} leases lost in ten minutes`);
  });

  test("one long after another costs no time either", () => {
    const client = new DhcpSimulation();
    client.bind();
    for (const sec of [1800, 3600]) {
      client.advanceTo(sec);
      client.reply({ type: "nak" });
      assert.equal(client.log.at(-1), `${sec}s send discover`);
      client.reply({ type: "offer" });
      client.reply({ type: "ack" });
    }
  });
});

describe("conflict", () => {
  test("declines by broadcast, waits, and does not ask for the address again", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(5);
    client.deliver({ kind: "conflict" });
    assert.equal(client.last.type, "decline");
    assert.equal(client.last.ciaddr, 0);
    assert.deepEqual(client.last.options.get(50), addresses("192.0.2.50"));
    assert.deepEqual(client.last.options.get(54), addresses("192.0.2.1"));
    client.advanceTo(16);
    assert.deepEqual(client.log.slice(3), [
      "5s lost 192.0.2.50 declined",
      "5s send decline",
      "15.5s send discover",
    ]);
    assert.ok(!client.last.options.has(50));
  });

  test("again and again: from ten seconds to ten minutes", () => {
    const client = new DhcpSimulation();
    client.server = ({ type }) => {
      if (type === "discover") return { type: "offer" };
      return type === "request" ? { type: "ack" } : undefined;
    };
    client.start();
    for (let turn = 0; turn < 8; turn += 1) {
      client.deliver({ kind: "conflict" });
      const due = deadline(client.state) ?? 0;
      client.advanceTo(due / 1000);
    }
    const bound = client.log.filter((line) => line.includes("bound")).map(Number.parseFloat);
    const waits = bound.map((at, index) => Math.round(at - (bound[index - 1] ?? at)));
    assert.deepEqual(waits, [0, 11, 21, 42, 84, 168, 336, 630, 630]);
  });
});

describe("release and stop", () => {
  test("a release goes out before the lease is lost", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.deliver({ kind: "release" });
    assert.deepEqual(client.log.slice(-2), [
      "0s send release to 192.0.2.1",
      "0s lost 192.0.2.50 released",
    ]);
    assert.equal(client.last.ciaddr, ADDRESS);
    assert.ok(client.last.options.has(54) && !client.last.options.has(50));
    assert.equal(client.state.kind, "stopped");
  });

  test("without a lease there is nothing to release", () => {
    const client = new DhcpSimulation();
    client.start();
    client.deliver({ kind: "release" });
    assert.deepEqual(client.log, ["0s send discover"]);
  });

  test("a stop sends nothing", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.deliver({ kind: "stop" });
    assert.equal(client.log.at(-1), "0s lost 192.0.2.50 stopped");
  });
});

describe("a remembered lease", () => {
  test("is confirmed by one REQUEST, with option 50 and without 54", () => {
    const client = new DhcpSimulation({}, 60_000);
    client.deliver({ kind: "start", remembered: { kind: "reboot", lease: leaseFor(3600) } });
    assert.equal(client.state.kind, "rebooting");
    assert.equal(leaseOf(client.state), undefined);
    assert.equal(client.last.ciaddr, 0);
    assert.deepEqual(client.last.options.get(50), addresses("192.0.2.50"));
    assert.ok(!client.last.options.has(54));
    client.reply({ type: "ack" });
    assert.deepEqual(client.log, ["60s send request", "60s bound 192.0.2.50"]);
  });

  test("that nobody knows is asked for by DISCOVER", () => {
    const client = new DhcpSimulation();
    client.deliver({ kind: "start", remembered: { kind: "reboot", lease: leaseFor(3600) } });
    client.advanceTo(4.1);
    assert.deepEqual(client.log, ["0s send request", "4s send discover"]);
    assert.deepEqual(client.last.options.get(50), addresses("192.0.2.50"));
  });

  test("that is refused was never announced", () => {
    const client = new DhcpSimulation();
    client.deliver({ kind: "start", remembered: { kind: "reboot", lease: leaseFor(3600) } });
    client.reply({ type: "nak" });
    assert.deepEqual(client.log, ["0s send request", "0s send discover"]);
    assert.ok(!client.last.options.has(50));
  });

  test("that has expired is asked for by DISCOVER", () => {
    for (const kind of ["adopt", "reboot"] as const) {
      const client = new DhcpSimulation({}, 3_600_000);
      client.deliver({ kind: "start", remembered: { kind, lease: leaseFor(3600) } });
      assert.deepEqual(client.log, ["3600s send discover"]);
      assert.deepEqual(client.last.options.get(50), addresses("192.0.2.50"));
    }
  });

  const adopted = [
    { atSec: 100, want: ["100s bound 192.0.2.50"] },
    { atSec: 1800, want: ["1800s bound 192.0.2.50", "1800s send request to 192.0.2.1"] },
    {
      atSec: 3200,
      want: ["3200s bound 192.0.2.50", "3200s rebinding 192.0.2.50", "3200s send request"],
    },
  ];
  for (const { atSec, want } of adopted) {
    test(`is adopted after ${atSec} s where its timers are`, () => {
      const client = new DhcpSimulation({}, atSec * 1000);
      client.deliver({ kind: "start", remembered: { kind: "adopt", lease: leaseFor(3600) } });
      assert.deepEqual(client.log, want);
    });
  }
});

describe("check", () => {
  test("asks whether the lease still holds, and keeps it meanwhile", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(100);
    client.takeLog();
    client.deliver({ kind: "check" });
    assert.ok(leaseOf(client.state) !== undefined);
    assert.equal(client.last.ciaddr, 0);
    client.reply({ type: "ack" });
    assert.deepEqual(client.log, ["100s send request", "100s renewed 192.0.2.50"]);
  });

  test("unanswered, three times, leaves the lease as it was", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(100);
    client.takeLog();
    client.deliver({ kind: "check" });
    client.advanceTo(200);
    assert.deepEqual(client.log, ["100s send request", "104s send request", "112s send request"]);
    assert.equal(client.state.kind, "bound");
    assert.equal(deadline(client.state), 1_800_000);
  });

  test("refused, the lease is gone", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(100);
    client.deliver({ kind: "check" });
    client.reply({ type: "nak", options: { 54: addresses("198.51.100.1") } });
    assert.deepEqual(client.log.slice(-2), ["100s lost 192.0.2.50 refused", "100s send discover"]);
  });

  test("answered by an ACK that cannot be used, the lease stays as it was", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(100);
    const lease = heldBy(client);
    client.deliver({ kind: "check" });
    client.reply({ type: "ack", options: { 51: u32(1) } });
    assert.equal(client.log.at(-1), "100s ignored lease-too-short");
    assert.equal(leaseOf(client.state), lease);
  });

  test("a carrier that flaps costs a request a second", () => {
    const client = new DhcpSimulation();
    client.server = ({ type }) => ({ type: type === "discover" ? "offer" : "ack" });
    client.start();
    for (let turn = 1; turn <= 100; turn += 1) {
      client.advanceTo(turn / 10);
      client.deliver({ kind: "check" });
    }
    assert.ok(client.sentAtSec.length <= 12, `${client.sentAtSec.length} packets in 10 s`);
    assert.ok(leaseOf(client.state) !== undefined);
  });

  test("while selecting looks again at once", () => {
    const client = new DhcpSimulation();
    client.start();
    client.advanceTo(50);
    client.deliver({ kind: "check" });
    assert.equal(client.log.at(-1), "50s send discover");
  });

  test("after an hour asleep the lease that is over is not used", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.sleepTo(3601);
    client.deliver({ kind: "check" });
    assert.deepEqual(client.log.slice(-2), [
      "3601s lost 192.0.2.50 expired",
      "3601s send discover",
    ]);
  });

  test("after a day asleep a long lease is asked about", () => {
    const client = new DhcpSimulation();
    client.bind({ options: { 51: u32(7 * 86_400) } });
    client.sleepTo(86_400);
    client.deliver({ kind: "check" });
    assert.equal(client.log.at(-1), "86400s send request");
    assert.ok(leaseOf(client.state) !== undefined);
  });
});

test("an event after expiry but before the wake finds no lease", () => {
  const client = new DhcpSimulation();
  client.bind();
  client.advanceTo(3599);
  client.sleepTo(3601);
  client.reply({ type: "ack" });
  assert.deepEqual(client.log.slice(-3), [
    "3601s lost 192.0.2.50 expired",
    "3601s send discover",
    "3601s ignored wrong-xid",
  ]);
});

test("what the client sends is on the wire as it should be", () => {
  const client = new DhcpSimulation({ hostName: "mnm-host", vendorClass: "mnm 0.1" });
  client.start();
  const { last } = client;
  assert.equal(last.length, 300);
  assert.deepEqual([...last.options.keys()], [53, 61, 57, 55, 12, 60]);
  assert.deepEqual(last.options.get(61), Uint8Array.of(1, 2, 0, 0, 0, 0, 1));
  assert.deepEqual(last.options.get(57), Uint8Array.of(1472 >> 8, 1472 & 0xff));
  assert.deepEqual(last.options.get(12), ascii("mnm-host"));
  const list = [...(last.options.get(55) ?? [])];
  assert.ok(list.indexOf(121) < list.indexOf(3) && list.indexOf(121) < list.indexOf(33));
  assert.deepEqual(
    list.sort((a, b) => a - b),
    [1, 3, 6, 12, 15, 26, 28, 33, 42, 54, 58, 59, 114, 119, 121, 249],
  );
});

test("a server identifier need not be the address that the packet came from", () => {
  const client = new DhcpSimulation();
  client.start();
  const options = { 54: addresses("198.51.100.7") };
  client.packet(replyOf({ type: "offer", xid: client.last.xid, options }), SERVER);
  assert.deepEqual(client.last.options.get(54), addresses("198.51.100.7"));
});
