import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ipv4 } from "../testing/dhcp4-server.js";
import {
  ADDRESS,
  GATEWAY,
  GATEWAY_MAC,
  GuardSimulation,
  OTHER_OWN_MAC,
  OWN_MAC,
  STRANGER_MAC,
} from "../testing/guard-simulation.js";
import { deadline, UNGUARDED } from "./index.js";

const NOBODY = ipv4("0.0.0.0");
const PROBE = "who-has 192.0.2.50 tell 0.0.0.0";
const ANNOUNCE = "announce 192.0.2.50";
const ASK_ALL = "who-has 192.0.2.1 tell 192.0.2.50";
const ASK_ONE = "who-has 192.0.2.1 tell 192.0.2.50 (to fe)";
const WATCH = "watch 192.0.2.50";
const WATCH_BOTH = "watch 192.0.2.50 192.0.2.1";
const GIVEN_UP = "conflict with 99, 192.0.2.50 given up";
const DEFENDED = "conflict with 99, 192.0.2.50 defended";

function probeOfStranger(guard: GuardSimulation): void {
  guard.packet({ operation: "request", sender: NOBODY });
}

describe("claim, optimistic", () => {
  test("probes three times in 200 ms, announces twice, learns the gateway's MAC", () => {
    const guard = new GuardSimulation();
    guard.claim();
    assert.ok(guard.isInUse, "in use from the start");
    guard.advanceTo(2.25);
    guard.answer();
    guard.advanceTo(600);
    assert.deepEqual(guard.log, [
      `0s ${WATCH}`,
      `0s ${PROBE}`,
      `0.1s ${PROBE}`,
      `0.2s ${PROBE}`,
      `2.2s ${WATCH_BOTH}`,
      "2.2s claimed",
      `2.2s ${ANNOUNCE}`,
      `2.2s ${ASK_ALL}`,
      `2.25s ${WATCH}`,
      `4.2s ${ANNOUNCE}`,
    ]);
    assert.equal(deadline(guard.state), undefined, "nothing is due any more");
  });

  test("asks three times for a gateway that does not answer, then leaves it", () => {
    const guard = new GuardSimulation();
    guard.claim();
    guard.advanceTo(600);
    assert.deepEqual(guard.log.slice(4), [
      `2.2s ${WATCH_BOTH}`,
      "2.2s claimed",
      `2.2s ${ANNOUNCE}`,
      `2.2s ${ASK_ALL}`,
      `3.2s ${ASK_ALL}`,
      `4.2s ${ANNOUNCE}`,
      `6.2s ${ASK_ALL}`,
      `10.2s ${WATCH}`,
    ]);
  });

  test("without a gateway asks for none", () => {
    const guard = new GuardSimulation();
    guard.deliver({ kind: "claim", address: ADDRESS, gateway: undefined, mode: "optimistic" });
    guard.advanceTo(600);
    assert.deepEqual(guard.log.slice(4), ["2.2s claimed", `2.2s ${ANNOUNCE}`, `4.2s ${ANNOUNCE}`]);
  });

  test("the same lease once more, as after a renewal, changes nothing", () => {
    const guard = new GuardSimulation();
    guard.settle();
    const { state } = guard;
    guard.claim();
    guard.claim("strict");
    guard.deliver({ kind: "adopt", address: ADDRESS, gateway: GATEWAY });
    assert.equal(guard.state, state);
    assert.deepEqual(guard.log, []);
  });

  test("a host that slept while it probed begins anew", () => {
    const guard = new GuardSimulation();
    guard.claim();
    guard.advanceTo(1);
    guard.sleepTo(500);
    guard.takeLog();
    guard.advanceTo(502.2);
    assert.deepEqual(guard.log.slice(0, 5), [
      `500s ${PROBE}`,
      `500.1s ${PROBE}`,
      `500.2s ${PROBE}`,
      `502.2s ${WATCH_BOTH}`,
      "502.2s claimed",
    ]);
  });

  test("another address is probed afresh, and the old one is left alone", () => {
    const guard = new GuardSimulation();
    guard.settle();
    const address = ipv4("192.0.2.77");
    guard.deliver({ kind: "claim", address, gateway: GATEWAY, mode: "optimistic" });
    guard.packet({ sender: ADDRESS });
    guard.advanceTo(62.5);
    assert.deepEqual(guard.log, [
      "60s watch 192.0.2.77",
      "60s who-has 192.0.2.77 tell 0.0.0.0",
      "60.1s who-has 192.0.2.77 tell 0.0.0.0",
      "60.2s who-has 192.0.2.77 tell 0.0.0.0",
      "62.2s watch 192.0.2.77 192.0.2.1",
      "62.2s claimed",
      "62.2s announce 192.0.2.77",
      "62.2s who-has 192.0.2.1 tell 192.0.2.77",
    ]);
  });
});

describe("claim, strict", () => {
  test("waits up to a second, probes 1 to 2 s apart, and may use the address 2 s later", () => {
    const guard = new GuardSimulation();
    guard.claim("strict");
    guard.advanceTo(5.4);
    assert.ok(!guard.isInUse);
    guard.advanceTo(5.5);
    assert.ok(guard.isInUse);
    guard.advanceTo(6.1);
    guard.answer();
    guard.advanceTo(600);
    assert.deepEqual(guard.log, [
      `0s ${WATCH}`,
      `0.5s ${PROBE}`,
      `2s ${PROBE}`,
      `3.5s ${PROBE}`,
      "5.5s claimed",
      // Half a second for the address to get onto the link.
      `6s ${WATCH_BOTH}`,
      `6s ${ANNOUNCE}`,
      `6s ${ASK_ALL}`,
      `6.1s ${WATCH}`,
      `8s ${ANNOUNCE}`,
    ]);
  });

  for (const { name, random, want } of [
    { name: "the least", random: 0, want: ["0s", "1s", "2s", "4s"] },
    { name: "the most", random: 0xffff_ffff, want: ["1s", "3s", "5s", "7s"] },
  ]) {
    test(`${name} that chance makes of it`, () => {
      const guard = new GuardSimulation();
      guard.randomUint32 = () => random;
      guard.claim("strict");
      guard.advanceTo(7);
      const probing = guard.log.slice(1, 5).map((line) => line.replace(/ .*/, ""));
      assert.deepEqual(probing, want);
    });
  }

  test("a check before the end begins anew, still without use of the address", () => {
    const guard = new GuardSimulation();
    guard.claim("strict");
    guard.advanceTo(5);
    guard.deliver({ kind: "check" });
    assert.ok(!guard.isInUse);
    guard.advanceTo(10.4);
    assert.ok(!guard.isInUse);
    guard.advanceTo(10.5);
    assert.ok(guard.isInUse);
    assert.equal(guard.log.filter((line) => line.endsWith(PROBE)).length, 6);
  });
});

describe("a conflict while probing gives the address up", () => {
  for (const mode of ["optimistic", "strict"] as const) {
    for (const { name, act } of [
      { name: "a reply", act: (guard: GuardSimulation) => void guard.packet({}) },
      {
        name: "a request that its user sends",
        act: (guard: GuardSimulation) => void guard.packet({ operation: "request" }),
      },
      { name: "a probe of somebody else", act: probeOfStranger },
    ]) {
      for (const sec of [0, 0.15, 2.15]) {
        test(`${mode}, ${name} after ${sec} s`, () => {
          const guard = new GuardSimulation();
          guard.claim(mode);
          guard.advanceTo(sec);
          guard.takeLog();
          act(guard);
          assert.deepEqual(guard.log, [`${sec}s watch nobody`, `${sec}s ${GIVEN_UP}`]);
          assert.equal(guard.state, UNGUARDED);
          guard.advanceTo(600);
          assert.equal(guard.log.length, 2, "nothing more is sent");
        });
      }
    }
  }
});

describe("what is no conflict while probing", () => {
  for (const { name, packet } of [
    { name: "our own packet, come back", packet: { senderMac: OWN_MAC } },
    { name: "another link of this host that answers", packet: { senderMac: OTHER_OWN_MAC } },
    {
      name: "another link of this host that probes",
      packet: { senderMac: OTHER_OWN_MAC, sender: NOBODY, operation: "request" as const },
    },
    { name: "a probe for another address", packet: { sender: NOBODY, target: GATEWAY } },
    { name: "a reply from nobody", packet: { sender: NOBODY } },
    {
      name: "a request for our address",
      packet: { sender: ipv4("192.0.2.7"), operation: "request" as const },
    },
  ]) {
    test(name, () => {
      const guard = new GuardSimulation();
      guard.claim();
      const { state } = guard;
      guard.takeLog();
      guard.packet(packet);
      assert.equal(guard.state, state);
      assert.deepEqual(guard.log, []);
    });
  }
});

describe("a conflict after claiming", () => {
  test("is answered with an announcement the first time", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.packet({});
    assert.deepEqual(guard.log, [`60s ${DEFENDED}`, `60s ${ANNOUNCE}`]);
  });

  test("gives the address up the second time within ten seconds", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.packet({});
    guard.advanceTo(69.99);
    guard.packet({ operation: "request" });
    assert.deepEqual(guard.log.slice(2), ["69.99s watch nobody", `69.99s ${GIVEN_UP}`]);
    assert.equal(guard.state, UNGUARDED);
  });

  test("is defended again when the last one is longer ago", () => {
    const guard = new GuardSimulation();
    guard.settle();
    for (const sec of [60, 70, 80]) {
      guard.advanceTo(sec);
      guard.packet({});
    }
    assert.deepEqual(guard.log, [
      `60s ${DEFENDED}`,
      `60s ${ANNOUNCE}`,
      `70s ${DEFENDED}`,
      `70s ${ANNOUNCE}`,
      `80s ${DEFENDED}`,
      `80s ${ANNOUNCE}`,
    ]);
  });

  test("counts from before a check, too", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.packet({});
    guard.deliver({ kind: "check" });
    guard.advanceTo(64);
    guard.takeLog();
    guard.packet({});
    assert.deepEqual(guard.log, ["64s watch nobody", `64s ${GIVEN_UP}`]);
  });

  test("between the two announcements is one already", () => {
    const guard = new GuardSimulation();
    guard.claim();
    guard.advanceTo(3.1);
    guard.takeLog();
    guard.packet({});
    assert.deepEqual(guard.log, [`3.1s ${DEFENDED}`, `3.1s ${ANNOUNCE}`]);
  });

  test("is not what a probe of somebody else is: the kernel answers it", () => {
    const guard = new GuardSimulation();
    guard.settle();
    probeOfStranger(guard);
    assert.deepEqual(guard.log, []);
  });

  test("is not what our own links do", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.packet({ senderMac: OTHER_OWN_MAC });
    guard.packet({ senderMac: OWN_MAC });
    assert.deepEqual(guard.log, []);
  });
});

describe("adopt", () => {
  test("watches, and asks for the gateway within a second", () => {
    const guard = new GuardSimulation();
    guard.deliver({ kind: "adopt", address: ADDRESS, gateway: GATEWAY });
    assert.ok(guard.isInUse);
    guard.advanceTo(0.6);
    guard.answer();
    guard.advanceTo(600);
    assert.deepEqual(guard.log, [
      `0s ${WATCH}`,
      `0.5s ${WATCH_BOTH}`,
      `0.5s ${ASK_ALL}`,
      `0.6s ${WATCH}`,
    ]);
  });

  test("a hundred links do not ask at once", () => {
    const asked = Array.from({ length: 100 }, (_, index) => {
      const guard = new GuardSimulation();
      guard.randomUint32 = () => Math.round((index / 99) * 0xffff_ffff);
      guard.deliver({ kind: "adopt", address: ADDRESS, gateway: GATEWAY });
      return deadline(guard.state) ?? 0;
    });
    assert.deepEqual([Math.min(...asked), Math.max(...asked)], [0, 1000]);
    assert.ok(new Set(asked).size > 90);
  });

  test("without a gateway says nothing", () => {
    const guard = new GuardSimulation();
    guard.deliver({ kind: "adopt", address: ADDRESS, gateway: undefined });
    guard.advanceTo(600);
    assert.deepEqual(guard.log, [`0s ${WATCH}`]);
  });

  test("an adopted address is defended, and checked", () => {
    const guard = new GuardSimulation();
    guard.deliver({ kind: "adopt", address: ADDRESS, gateway: undefined });
    guard.advanceTo(10);
    guard.packet({});
    guard.deliver({ kind: "check" });
    assert.deepEqual(guard.log.slice(1), [`10s ${DEFENDED}`, `10s ${ANNOUNCE}`, `10s ${PROBE}`]);
  });
});

describe("check", () => {
  test("asks the gateway by unicast and probes; the gateway answers", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "check" });
    assert.ok(guard.isInUse);
    assert.ok(guard.isGatewayAsked);
    guard.advanceTo(60.05);
    guard.answer();
    assert.ok(!guard.isGatewayAsked);
    guard.advanceTo(600);
    assert.deepEqual(guard.log, [
      `60s ${WATCH_BOTH}`,
      `60s ${PROBE}`,
      `60s ${ASK_ONE}`,
      `60.05s ${WATCH}`,
      "60.05s same-network",
      `60.1s ${PROBE}`,
      `60.2s ${PROBE}`,
      "62.2s claimed",
      `62.2s ${ANNOUNCE}`,
      `64.2s ${ANNOUNCE}`,
    ]);
  });

  test("repeats at 1 and 4 s; once the servers had their time, learns the gateway anew", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "check" });
    guard.advanceTo(91.9);
    assert.ok(guard.isGatewayAsked);
    guard.advanceTo(92.5);
    assert.ok(!guard.isGatewayAsked);
    const asked = guard.takeLog().filter((line) => line.includes(ASK_ALL));
    assert.deepEqual(asked, [
      `60s ${ASK_ONE}`,
      `61s ${ASK_ONE}`,
      `64s ${ASK_ONE}`,
      `92s ${ASK_ALL}`,
    ]);
    guard.answer(STRANGER_MAC);
    guard.advanceTo(100);
    guard.deliver({ kind: "check" });
    assert.equal(guard.log.at(-1), "100s who-has 192.0.2.1 tell 192.0.2.50 (to 99)");
  });

  test("another MAC that answers is not the same network", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "check" });
    guard.answer(STRANGER_MAC);
    guard.answer(OTHER_OWN_MAC);
    assert.ok(guard.isGatewayAsked);
    guard.answer(GATEWAY_MAC);
    assert.ok(!guard.isGatewayAsked);
    assert.equal(guard.log.at(-1), "60s same-network");
  });

  test("a request of the gateway's own is no answer", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "check" });
    guard.packet({ operation: "request", sender: GATEWAY, senderMac: GATEWAY_MAC });
    assert.ok(guard.isGatewayAsked);
  });

  test("an answer that nobody asked for says nothing", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.answer();
    assert.deepEqual(guard.log, []);
  });

  test("without the gateway's MAC asks by broadcast after probing, and proves nothing", () => {
    const guard = new GuardSimulation();
    guard.claim();
    guard.advanceTo(60);
    guard.takeLog();
    guard.deliver({ kind: "check" });
    assert.ok(!guard.isGatewayAsked);
    guard.advanceTo(62.3);
    guard.answer();
    assert.deepEqual(guard.log.slice(-5), [
      `62.2s ${WATCH_BOTH}`,
      "62.2s claimed",
      `62.2s ${ANNOUNCE}`,
      `62.2s ${ASK_ALL}`,
      `62.3s ${WATCH}`,
    ]);
  });

  test("somebody who has the address in the network we came to keeps it", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "check" });
    guard.packet({});
    assert.deepEqual(guard.log.slice(-2), ["60s watch nobody", `60s ${GIVEN_UP}`]);
  });

  test("a probe of somebody else takes nothing from us, as some switches send them to all", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "check" });
    guard.takeLog();
    probeOfStranger(guard);
    assert.deepEqual(guard.log, []);
  });

  test("keeps the use of an address that was claimed strictly", () => {
    const guard = new GuardSimulation();
    guard.claim("strict");
    guard.advanceTo(60);
    guard.takeLog();
    guard.deliver({ kind: "check" });
    assert.ok(guard.isInUse);
    guard.advanceTo(62.2);
    assert.deepEqual(guard.log.slice(0, 3), [`60s ${PROBE}`, `60.1s ${PROBE}`, `60.2s ${PROBE}`]);
    assert.ok(guard.log.includes("62.2s claimed"));
  });

  test("too soon after the last is made up for, and the gateway counts as asked", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "check" });
    guard.answer();
    guard.advanceTo(61);
    guard.takeLog();
    guard.deliver({ kind: "check" });
    assert.ok(guard.isGatewayAsked);
    guard.advanceTo(64);
    assert.deepEqual(guard.log, [
      "62.2s claimed",
      `62.2s ${ANNOUNCE}`,
      `64s ${WATCH_BOTH}`,
      `64s ${PROBE}`,
      `64s ${ASK_ONE}`,
    ]);
  });

  test("with nothing to guard does nothing", () => {
    const guard = new GuardSimulation();
    guard.deliver({ kind: "check" });
    assert.equal(guard.state, UNGUARDED);
    assert.deepEqual(guard.log, []);
    assert.ok(!guard.isGatewayAsked);
  });
});

describe("gateway", () => {
  const other = ipv4("192.0.2.254");

  test("another one is learnt at once, and the old one's MAC is forgotten", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "gateway", gateway: other });
    guard.answer();
    guard.packet({ sender: other });
    guard.advanceTo(70);
    guard.deliver({ kind: "check" });
    assert.deepEqual(guard.log, [
      "60s watch 192.0.2.50 192.0.2.254",
      "60s who-has 192.0.2.254 tell 192.0.2.50",
      `60s ${WATCH}`,
      "70s watch 192.0.2.50 192.0.2.254",
      `70s ${PROBE}`,
      "70s who-has 192.0.2.254 tell 192.0.2.50 (to 99)",
    ]);
  });

  test("another one while probing is learnt after the first announcement", () => {
    const guard = new GuardSimulation();
    guard.claim();
    guard.deliver({ kind: "gateway", gateway: other });
    guard.advanceTo(2.2);
    assert.equal(guard.log.at(-1), "2.2s who-has 192.0.2.254 tell 192.0.2.50");
    assert.equal(guard.log.length, 8);
  });

  test("none any more: nobody is asked", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "gateway", gateway: undefined });
    guard.deliver({ kind: "check" });
    assert.ok(!guard.isGatewayAsked);
    assert.deepEqual(guard.log, [`60s ${PROBE}`]);
  });

  test("the same one says nothing new", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "gateway", gateway: GATEWAY });
    assert.deepEqual(guard.log, []);
  });

  test("a MAC of a group of stations is not kept: it cannot be asked by unicast", () => {
    const guard = new GuardSimulation();
    guard.claim();
    guard.advanceTo(3);
    guard.packet({ sender: GATEWAY, senderMac: "03:bf:c0:00:02:01" as typeof GATEWAY_MAC });
    guard.advanceTo(60);
    guard.deliver({ kind: "check" });
    assert.ok(!guard.isGatewayAsked);
  });
});

describe("drop", () => {
  test("ends all of it", () => {
    const guard = new GuardSimulation();
    guard.claim();
    guard.advanceTo(2.5);
    guard.takeLog();
    guard.deliver({ kind: "drop" });
    guard.packet({});
    guard.answer();
    guard.advanceTo(600);
    assert.deepEqual(guard.log, ["2.5s watch nobody"]);
    assert.equal(guard.state, UNGUARDED);
  });

  test("with nothing to guard does nothing", () => {
    const guard = new GuardSimulation();
    guard.deliver({ kind: "drop" });
    assert.deepEqual(guard.log, []);
  });
});
