import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ADDRESS, addresses, ipv4, u32 } from "../testing/dhcp4-server.js";
import { DhcpSimulation } from "../testing/dhcp4-simulation.js";
import { deadline, leaseOf } from "./index.js";

describe("keeping a lease", () => {
  test("renews by unicast, rebinds by broadcast, expires to the second", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.takeLog();
    client.advanceTo(3600);
    assert.deepEqual(client.takeLog(), [
      "1800s send request to 192.0.2.1",
      "2475s send request to 192.0.2.1",
      "2812.5s send request to 192.0.2.1",
      "2981.25s send request to 192.0.2.1",
      "3065.63s send request to 192.0.2.1",
      "3107.81s send request to 192.0.2.1",
      "3128.91s send request to 192.0.2.1",
      "3139.45s send request to 192.0.2.1",
      "3149.45s send request to 192.0.2.1",
      "3150s rebinding 192.0.2.50",
      "3150s send request",
      "3375s send request",
      "3487.5s send request",
      "3543.75s send request",
      "3571.88s send request",
      "3585.94s send request",
      "3595.94s send request",
      "3600s lost 192.0.2.50 expired",
      "3600s send discover",
    ]);
    assert.deepEqual(client.last.options.get(50), addresses("192.0.2.50"));
  });

  test("a request to extend carries ciaddr, no option 50 and no 54", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(1800);
    assert.equal(client.last.ciaddr, ADDRESS);
    assert.ok(!client.last.options.has(50) && !client.last.options.has(54));
    client.advanceTo(3150);
    assert.equal(client.state.kind, "rebinding");
    assert.equal(client.last.ciaddr, ADDRESS);
    assert.equal(client.last.secs, 1350, "since renewing began");
  });

  test("an answer while renewing counts from the request that it answers", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(2500);
    client.reply({ type: "ack" });
    assert.equal(client.log.at(-1), "2500s renewed 192.0.2.50");
    assert.equal(deadline(client.state), 2_475_000 + 1_800_000);
  });

  test("while rebinding any server may take the lease over", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(3200);
    client.reply({ type: "ack", options: { 54: addresses("192.0.2.2") } });
    assert.equal(client.log.at(-1), "3200s renewed 192.0.2.50");
    client.takeLog();
    client.advanceTo(3150 + 1800);
    assert.deepEqual(client.log, ["4950s send request to 192.0.2.2"]);
  });

  test("a changed address comes as a renewal", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(1800);
    const [effect] = client.reply({ type: "ack", address: ipv4("192.0.2.77") });
    assert.ok(effect?.kind === "lease-renewed");
    assert.equal(effect.before.terms.address, ADDRESS);
    assert.equal(effect.lease.terms.address, ipv4("192.0.2.77"));
  });

  test("an unusable ACK is no answer: the lease lives to its end", () => {
    const client = new DhcpSimulation();
    client.bind();
    client.advanceTo(1800);
    client.reply({ type: "ack", options: { 51: u32(1) } });
    client.reply({ type: "ack", options: { 1: addresses("255.0.255.0") } });
    assert.deepEqual(client.log.slice(-2), [
      "1800s ignored lease-too-short",
      "1800s ignored mask-unusable",
    ]);
    assert.equal(client.state.kind, "renewing");
  });

  for (const leaseSec of [10, 11, 12, 15, 20, 30, 60, 120]) {
    test(`a lease of ${leaseSec} s is never renewed within ten seconds`, () => {
      const client = new DhcpSimulation();
      client.server = ({ type }) => ({
        type: type === "discover" ? "offer" : "ack",
        options: { 51: u32(leaseSec) },
      });
      client.start();
      client.advanceTo(600);
      const renewals = client.log.filter((line) => line.endsWith("send request to 192.0.2.1"));
      const at = renewals.map((line) => Number.parseFloat(line));
      assert.ok(at.every((sec, index) => sec - (at[index - 1] ?? 0) >= 10));
      assert.equal(renewals.length > 0, leaseSec > 10);
      assert.equal(
        client.log.some((line) => line.includes("lost")),
        leaseSec === 10,
      );
    });
  }

  test("an infinite lease waits for nothing, and a renewal nobody answers leaves it alone", () => {
    const client = new DhcpSimulation();
    client.bind({ options: { 51: u32(0xffff_ffff) } });
    assert.equal(deadline(client.state), undefined);
    client.deliver({ kind: "renew" });
    assert.equal(client.log.at(-1), "0s send request to 192.0.2.1");
    client.advanceTo(1e9);
    assert.equal(client.state.kind, "bound");
    assert.equal(deadline(client.state), undefined);
  });

  test("a lease of 136 years has its times to the second", () => {
    const client = new DhcpSimulation();
    client.bind({ options: { 51: u32(0xffff_fffe) } });
    assert.deepEqual(leaseOf(client.state)?.timers, {
      kind: "finite",
      t1: 2_147_483_647_000,
      t2: 3_758_096_382_250,
      expiry: 4_294_967_294_000,
    });
  });
});

test("a hundred links for seven days: nothing lost, four renewals a day each", () => {
  for (let link = 0; link < 100; link += 1) {
    const client = new DhcpSimulation({}, link);
    client.server = ({ type }) => ({
      type: type === "discover" ? "offer" : "ack",
      options: { 51: u32(43_200) },
    });
    client.start();
    client.advanceTo(7 * 86_400 - 1);
    assert.equal(client.log.filter((line) => line.includes("renewed")).length, 27);
    assert.equal(client.log.filter((line) => line.includes("send")).length, 29);
    assert.ok(!client.log.some((line) => line.includes("lost")));
  }
});
