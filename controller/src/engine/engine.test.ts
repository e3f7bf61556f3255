import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type KernelRoute, MNM_PROTOCOL } from "../reconcile/index.js";
import { EngineSimulation, makeWorld, type World } from "../testing/engine-simulation.js";
import { ip, makeLink, prefix } from "../testing/make.js";

const IFINDEX = makeLink(1).ifindex;

const anyLink = fc.integer({ min: 1, max: 3 });
const anyMove = fc.oneof(
  fc.record({ kind: fc.constantFrom("carrier", "admin", "silence"), n: anyLink, on: fc.boolean() }),
  fc.record({
    kind: fc.constant("time"),
    n: fc.integer({ min: 1, max: 20_000 }),
    on: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("theft"), n: fc.nat({ max: 40 }), on: fc.boolean() }),
);
type Move = typeof anyMove extends fc.Arbitrary<infer T> ? T : never;

const UP = { adminUp: true, carrier: true, operstate: "up" } as const;
const NO_CARRIER = { carrier: false, operstate: "down" } as const;

function perform({ kind, n, on }: Move, simulation: EngineSimulation, world: World): void {
  switch (kind) {
    case "carrier":
      simulation.changeLink(n, on ? { carrier: true, operstate: "up" } : NO_CARRIER);
      break;
    case "admin":
      simulation.changeLink(n, on ? UP : { adminUp: false, ...NO_CARRIER });
      break;
    case "time":
      simulation.advance(n);
      break;
    case "silence":
      world.silentServers[on ? "add" : "delete"](n);
      break;
    default: {
      const ours = ({ protocol }: { protocol: number }) => protocol === MNM_PROTOCOL;
      const rules = [...world.kernel.model.rules.values()].filter(ours);
      const rule = rules[n % Math.max(rules.length, 1)];
      if (rule !== undefined) simulation.notify({ kind: "rule-gone", rule });
    }
  }
}

describe("Engine", () => {
  test("brings up every link, and tells of each once the kernel has all of it", () => {
    const simulation = new EngineSimulation(makeWorld([1, 2]));
    assert.deepEqual(
      simulation.events
        .filter(({ kind }) => kind === "uplink-usable")
        .map(({ link, after }) => `${link?.name} ${after}`),
      ["wan1 10.0.1.100/24", "wan2 10.0.2.100/24"],
    );
    assert.equal(simulation.status.defaultLink, "wan1");
    assert.deepEqual(simulation.diary("wan1"), [
      "lease of 10.0.1.100/24 from 10.0.1.1",
      "address 10.0.1.100/24 added",
      "usable: 10.0.1.100/24, table 7701, metric 1000",
    ]);
  });

  test("keeps an uplink for 3 s without carrier, then withdraws all of it", () => {
    const world = makeWorld([1, 2]);
    const simulation = new EngineSimulation(world);
    simulation.changeLink(1, { carrier: false, operstate: "down" });
    simulation.advance(2_900);
    assert.ok(world.kernel.ours.some((key) => key.includes("10.0.1.100")));
    simulation.advance(200);
    assert.deepEqual(
      world.kernel.ours.filter((key) => /10\.0\.1\.|7701|wan1/.test(key)),
      [],
    );
    assert.equal(simulation.status.defaultLink, "wan2");
    assert.ok(simulation.diary("wan1").includes("unusable: carrier lost"));
  });

  test("asks for the same address when carrier is back", () => {
    const world = makeWorld([1]);
    const simulation = new EngineSimulation(world);
    simulation.changeLink(1, { carrier: false, operstate: "down" });
    simulation.advance(5_000);
    simulation.changeLink(1, { carrier: true, operstate: "up" });
    assert.equal(simulation.status.links[0]?.state, "usable");
    assert.equal(
      simulation.status.links[0]?.managed?.counters.get("sent-discover"),
      1,
      "INIT-REBOOT needs none",
    );
  });

  test("a restart adopts what is there and changes nothing", () => {
    const world = makeWorld([1, 2]);
    new EngineSimulation(world);
    world.kernel.log.length = 0;
    world.now += 60_000;
    const again = new EngineSimulation(world);
    assert.deepEqual(world.kernel.log, []);
    assert.equal(again.status.links.filter(({ state }) => state === "usable").length, 2);
    assert.equal(again.status.links[0]?.managed?.counters.get("sent-discover"), undefined);
  });

  test("a restart without any lease deletes nothing of a silent server's link for 10 s", () => {
    const world = makeWorld([1]);
    new EngineSimulation(world);
    const before = world.kernel.ours;
    world.leases.clear();
    world.silentServers.add(1);
    const again = new EngineSimulation(world);
    again.advance(9_000);
    assert.deepEqual(world.kernel.ours, before);
    again.advance(2_000);
    assert.deepEqual(world.kernel.ours, []);
  });

  test("puts back what another program removed, after a moment of quiet, and says so", () => {
    const world = makeWorld([1]);
    const simulation = new EngineSimulation(world);
    const rule = [...world.kernel.model.rules.values()].find(({ priority }) => priority === 10_000);
    assert.ok(rule);
    simulation.notify({ kind: "rule-gone", rule });
    assert.ok(!world.kernel.ours.some((key) => key.includes("priority 10000")));
    simulation.advance(300);
    assert.ok(world.kernel.ours.some((key) => key.includes("priority 10000")));
    assert.ok(simulation.events.some(({ kind }) => kind === "external-change"));
  });

  test("a link that takes its address with it is no interference", () => {
    const world = makeWorld([1]);
    const simulation = new EngineSimulation(world);
    const [address] = [...world.kernel.model.addresses.values()];
    assert.ok(address);
    simulation.notify({ kind: "address-gone", address });
    simulation.notify({ kind: "link-gone", ifindex: IFINDEX });
    simulation.advance(1_000);
    assert.ok(!simulation.events.some(({ kind }) => kind === "external-change"));
    assert.deepEqual(
      world.kernel.ours.filter((key) => key.startsWith("rule")),
      [],
    );
  });

  test("unplugged and plugged in again within one batch, a link keeps its table", () => {
    const world = makeWorld([1]);
    const simulation = new EngineSimulation(world);
    const link = { ...makeLink(1), ifindex: makeLink(7).ifindex };
    simulation.notify({ kind: "link-gone", ifindex: IFINDEX }, { kind: "link", link });
    assert.equal(simulation.status.links[0]?.managed?.table, 7701);
    assert.equal(simulation.status.links[0]?.managed?.identity, "name:wan1");
  });

  test("of two uplinks with one address, `unique` declines the later", () => {
    const world = { ...makeWorld([1, 2]), addressOf: () => ip("10.0.1.100") };
    const simulation = new EngineSimulation(world, 'links: { "wan*": {} }\nunique: true');
    const states = simulation.status.links.map(({ link, state }) => `${link.name} ${state}`);
    assert.deepEqual(states, ["wan1 usable", "wan2 configuring"]);
    assert.ok(simulation.events.some(({ kind }) => kind === "lease-declined"));
  });

  test("an automatic metric gives way to another program's default, and comes back after it", () => {
    const simulation = new EngineSimulation(makeWorld([1, 2]));
    const metrics = () => simulation.status.links.map(({ managed }) => managed?.metric?.value);
    const route: KernelRoute = {
      table: 254,
      type: "unicast",
      destination: prefix("0.0.0.0/0"),
      metric: 1000,
      tos: 0,
      scope: 0,
      protocol: 4,
      ifindex: makeLink(2).ifindex,
      gateway: ip("10.0.2.1"),
      preferredSource: undefined,
      mtu: undefined,
      onlink: false,
    };
    assert.deepEqual(metrics(), [1000, 1001]);
    simulation.notify({ kind: "route", route });
    assert.deepEqual(metrics(), [1002, 1001]);
    simulation.notify({ kind: "route-gone", route });
    assert.deepEqual(metrics(), [1000, 1001]);
  });

  test("a metric set at run time is answered once it is in the kernel, and dropped at reload", () => {
    const world = makeWorld([1, 2]);
    const simulation = new EngineSimulation(world);
    const request = {
      kind: "set-metric",
      link: "wan2",
      metric: 5,
      swap: false,
      persist: false,
    } as const;
    simulation.post({ kind: "request", id: 1, request });
    const [reply] = simulation.replies;
    assert.equal(reply?.kind, "metric-set");
    assert.ok(
      reply.changes.some((line) => line.startsWith("ip route replace default table main metric 5")),
    );
    assert.equal(reply.newDefault, "wan2");
  });

  test("a metric that another link has persisted is not persisted twice, even while hidden", () => {
    const simulation = new EngineSimulation(makeWorld([1, 2]));
    const set = (id: number, link: string, metric: number, persist: boolean) => {
      const request = { kind: "set-metric", link, metric, swap: false, persist } as const;
      simulation.post({ kind: "request", id, request });
      return simulation.replies.at(-1);
    };
    assert.equal(set(1, "wan1", 6, true)?.kind, "metric-set");
    assert.equal(set(2, "wan1", 7, false)?.kind, "metric-set");
    const refused = set(3, "wan2", 6, true);
    assert.deepEqual(refused?.kind === "refused" ? refused.fault : refused, {
      code: "metric-taken",
      metric: 6,
      holder: "wan1",
    });
  });

  test("whatever happens, the kernel ends up holding what a fresh start would give it", () => {
    fc.assert(
      fc.property(fc.array(anyMove, { maxLength: 25 }), (moves) => {
        const world = makeWorld([1, 2, 3]);
        const simulation = new EngineSimulation(world);
        for (const move of moves) perform(move, simulation, world);
        world.silentServers.clear();
        for (const n of [1, 2, 3]) {
          simulation.changeLink(n, UP);
        }
        simulation.advance(120_000);
        const fresh = makeWorld([1, 2, 3]);
        new EngineSimulation(fresh);
        assert.deepEqual(world.kernel.ours, fresh.kernel.ours);
        const usable = simulation.status.links.filter(({ state }) => state === "usable");
        assert.equal(usable.length, 3);
      }),
      { numRuns: 200 },
    );
  });
});

test("Engine takes back what it has put there itself, while other links still wait for a lease", () => {
  const world = makeWorld([1, 2]);
  // Link 2 keeps the first plan from being complete.
  world.silentServers.add(2);
  const simulation = new EngineSimulation(world);
  assert.ok(world.kernel.ours.some((key) => key.includes("10.0.1.100")));
  simulation.changeLink(1, { adminUp: false, carrier: false, operstate: "down" });
  assert.deepEqual(
    world.kernel.ours.filter((key) => key.includes("10.0.1.100")),
    [],
  );
  assert.equal(simulation.status.isSettled, false);
});
