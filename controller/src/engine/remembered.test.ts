import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { PrefixLength } from "@mnm/proto/net";
import type { KernelAddress } from "../reconcile/index.js";
import { EngineSimulation, makeWorld, type World } from "../testing/engine-simulation.js";
import { makeLink } from "../testing/make.js";

const PROTOCOL_DHCP = 16;

/** wan1 had a lease; then the host was started anew, so that only the disk remembers. */
function restartedHost(): World {
  const { leases } = leased().world;
  assert.equal(leases.size, 1);
  return { ...makeWorld([1]), leases };
}

function leased() {
  const world = makeWorld([1]);
  const simulation = new EngineSimulation(world);
  assert.equal(simulation.status.links[0]?.state, "usable");
  return { world, simulation };
}

function sentBy(simulation: EngineSimulation): readonly string[] {
  const counters = simulation.status.links[0]?.managed?.counters ?? new Map<string, number>();
  return [...counters].filter(([name]) => name.startsWith("sent-")).map((pair) => pair.join(" "));
}

describe("a lease that a server refuses is on disk no more", () => {
  test("one in force", () => {
    const { world, simulation } = leased();
    world.refusingServers.add(1);
    simulation.post({ kind: "request", id: 1, request: { kind: "renew", link: "wan1" } });
    assert.ok(simulation.events.some(({ kind }) => kind === "lease-refused"));
    assert.deepEqual([...world.leases], []);
  });

  test("one of an earlier run, so that the next run does not ask for it again", () => {
    const world = restartedHost();
    world.refusingServers.add(1);
    assert.equal(sentBy(new EngineSimulation(world))[0]?.startsWith("sent-request"), true);
    assert.deepEqual([...world.leases], []);
    world.silentServers.add(1);
    assert.deepEqual(sentBy(new EngineSimulation(world)), ["sent-discover 1"]);
  });

  test("but one that is only not answered is", () => {
    const world = restartedHost();
    world.silentServers.add(1);
    new EngineSimulation(world).advance(60_000);
    assert.equal(world.leases.size, 1);
  });
});

describe("a remembered lease whose address is on the link", () => {
  const addressOf = (world: World, change: Partial<KernelAddress>): KernelAddress => {
    const [held] = leased().world.kernel.model.addresses.values();
    assert.ok(held !== undefined);
    assert.equal(held.address, world.addressOf(1));
    return { ...held, ...change };
  };
  const rows = [
    { name: "put there by MNM, is in force without a packet", change: {}, want: [] },
    {
      name: "put there by another program, is asked for",
      change: { protocol: PROTOCOL_DHCP },
      want: ["sent-request 1"],
    },
    {
      name: "with another prefix length, is asked for",
      change: { length: 25 as PrefixLength },
      want: ["sent-request 1"],
    },
    {
      name: "of another link, is asked for",
      change: { ifindex: makeLink(2).ifindex },
      want: ["sent-request 1"],
    },
  ];
  for (const { name, change, want } of rows) {
    test(name, () => {
      const before = restartedHost();
      const world = { ...makeWorld([1, 2]), leases: before.leases };
      world.silentServers.add(1);
      world.silentServers.add(2);
      world.kernel.notice({ kind: "address", address: addressOf(world, change) });
      const simulation = new EngineSimulation(world, "links: { wan1: {} }");
      assert.deepEqual(sentBy(simulation), want);
    });
  }
});

describe("unique", () => {
  const CONFIG = 'links: { "wan*": {} }\nunique: true';

  for (const [first, second] of [
    [1, 2],
    [2, 1],
  ] as const) {
    test(`wan${first} has the address for longer, and keeps it when wan${second} gets it too`, () => {
      const base = makeWorld([1, 2]);
      const address = base.addressOf(1);
      const world = { ...base, addressOf: () => address };
      world.silentServers.add(second);
      const simulation = new EngineSimulation(world, CONFIG);
      simulation.advance(1_000);
      world.silentServers.delete(second);
      simulation.advance(20_000);
      const usable = simulation.status.links
        .filter(({ state }) => state === "usable")
        .map(({ link }) => link.name);
      assert.deepEqual(usable, [`wan${first}`]);
      const declined = simulation.events.filter(({ kind }) => kind === "lease-declined");
      assert.deepEqual([...new Set(declined.map(({ link }) => link?.name))], [`wan${second}`]);
    });
  }
});
