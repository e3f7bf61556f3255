import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { after } from "@mnm/proto/net";
import { MNM_PROTOCOL } from "../reconcile/index.js";
import { receive } from "../testing/dhcp4-server.js";
import { EngineSimulation, makeWorld, type World } from "../testing/engine-simulation.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

/** The engine, and what it sends by DHCP: "3610 s wan1 request". */
function simulate(world: World) {
  const sent: string[] = [];
  const simulation = new EngineSimulation(world, 'links: { "wan*": {} }', {
    onEffect: (effect) => {
      if (effect.kind !== "send-dhcp") return;
      const { type, options } = receive(effect.payload);
      const wanted = options.has(50) ? " for an address" : "";
      sent.push(`${world.now / 1000} s ${effect.link.name} ${type}${wanted}`);
    },
  });
  return { simulation, sent };
}

function addressesOfOurs({ kernel }: World) {
  return [...kernel.model.addresses.values()].filter(({ protocol }) => protocol === MNM_PROTOCOL);
}

describe("a suspend", () => {
  for (const [name, sleptMs] of [
    ["an hour", HOUR],
    ["a day", DAY],
  ] as const) {
    test(`of ${name}: a lease that ended meanwhile is withdrawn at once`, () => {
      const world = makeWorld([1]);
      const { simulation, sent } = simulate(world);
      simulation.advance(10_000);
      sent.length = 0;
      world.silentServers.add(1);
      simulation.suspend(sleptMs);
      assert.deepEqual(world.kernel.ours, []);
      assert.deepEqual(sent, [`${10 + sleptMs / 1000} s wan1 discover for an address`]);
      assert.deepEqual(simulation.diary("wan1").slice(-3), [
        "lease of 10.0.1.100/24 expired",
        "unusable: lease ended or changed",
        "address 10.0.1.100/24 removed",
      ]);
    });

    test(`of ${name}: every lease that goes on is checked at once, and nothing else happens`, () => {
      const world = makeWorld([1, 2, 3]);
      world.leaseSec = 7 * 86_400;
      const { simulation, sent } = simulate(world);
      simulation.advance(10_000);
      sent.length = 0;
      simulation.changeLink(3, { carrier: false, operstate: "down" });
      const before = world.kernel.ours;
      const events = simulation.events.length;
      simulation.suspend(sleptMs);
      assert.deepEqual(sent, [
        `${10 + sleptMs / 1000} s wan1 request for an address`,
        `${10 + sleptMs / 1000} s wan2 request for an address`,
      ]);
      assert.deepEqual(
        world.kernel.ours,
        before.filter((key) => !/wan3|10\.0\.3\.|7703|1002$/.test(key)),
      );
      const kinds = simulation.events
        .slice(events)
        .map(({ kind, link }) => `${link?.name} ${kind}`);
      assert.deepEqual(
        kinds.filter((text) => !text.startsWith("wan3")),
        ["wan1 lease-renewed", "wan2 lease-renewed"],
      );
    });
  }

  test("in which the host was carried elsewhere: the lease is refused, and another one taken", () => {
    const moved = new Set<number>();
    const world: World = {
      ...makeWorld([1]),
      addressOf: (n) => makeWorld([]).addressOf(moved.has(n) ? n + 40 : n),
      leaseSec: 7 * 86_400,
    };
    const { simulation } = simulate(world);
    simulation.advance(10_000);
    moved.add(1);
    simulation.suspend(HOUR);
    assert.deepEqual(
      simulation.diary("wan1").filter((text) => /lease|^usable/.test(text)),
      [
        "lease of 10.0.1.100/24 from 10.0.1.1",
        "usable: 10.0.1.100/24, table 7701, metric 1000",
        "server 10.0.41.1 refused the lease of 10.0.1.100/24",
        "lease of 10.0.41.100/24 from 10.0.41.1",
        "unusable: lease ended or changed",
        "usable: 10.0.41.100/24, table 7701, metric 1000",
      ],
    );
  });

  test("the kernel's lifetimes stood still meanwhile, and are set right", () => {
    const world = makeWorld([1]);
    world.leaseSec = 7 * 86_400;
    const { simulation } = simulate(world);
    simulation.advance(10_000);
    world.silentServers.add(1);
    for (const [key, address] of world.kernel.model.addresses) {
      if (address.expiry === undefined) continue;
      world.kernel.model.addresses.set(key, { ...address, expiry: after(address.expiry, HOUR) });
    }
    simulation.suspend(HOUR);
    const timers = simulation.status.links[0]?.managed?.lease?.timers;
    assert.ok(timers?.kind === "finite");
    assert.deepEqual(
      addressesOfOurs(world).map(({ expiry }) => expiry),
      [timers.expiry],
    );
  });

  test("while the helper is away: the lease is over all the same", () => {
    const world = makeWorld([1]);
    const { simulation } = simulate(world);
    simulation.advance(10_000);
    simulation.post({ kind: "helper-lost", text: "gone" });
    simulation.suspend(HOUR);
    assert.equal(simulation.status.links[0]?.managed?.lease, undefined);
    simulation.post({ kind: "helper-ready", helper: { version: "0", capabilities: [] } });
    simulation.advance(1_000);
    assert.equal(simulation.status.links[0]?.state, "usable");
  });
});

describe("the wall clock", () => {
  for (const stepMs of [YEAR, -YEAR]) {
    const name = stepMs > 0 ? "ahead" : "behind";
    test(`set a year ${name}: leases are renewed as before, and adopted after a restart`, () => {
      const world = makeWorld([1]);
      const { simulation, sent } = simulate(world);
      world.wallStepMs = stepMs;
      simulation.advance(HOUR);
      assert.deepEqual(sent, [
        "0 s wan1 discover",
        "0 s wan1 request for an address",
        "1800 s wan1 request",
        "3600 s wan1 request",
      ]);
      world.wallStepMs = 0;
      const again = simulate(world);
      assert.deepEqual(again.sent, []);
      assert.equal(again.simulation.status.links[0]?.state, "usable");
    });
  }

  test("a lease that ended while the controller was down: its address is asked for", () => {
    const world = makeWorld([1]);
    simulate(world);
    world.now += 2 * HOUR;
    const { sent } = simulate(world);
    assert.deepEqual(sent, [
      "7200 s wan1 discover for an address",
      "7200 s wan1 request for an address",
    ]);
  });
});
