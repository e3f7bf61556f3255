import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EngineSimulation, makeWorld } from "../testing/engine-simulation.js";
import { ip } from "../testing/make.js";

const READY = { kind: "helper-ready", helper: { version: "0", capabilities: [] } } as const;

describe("after a crash", () => {
  test("of the helper, an answer that went with it is asked for again at once", () => {
    const world = makeWorld([1]);
    world.silentServers.add(1);
    const simulation = new EngineSimulation(world);
    simulation.advance(500);
    assert.deepEqual(world.kernel.ours, []);
    simulation.post({ kind: "helper-lost", text: "the connection ended" });
    world.silentServers.delete(1);
    simulation.advance(100);
    simulation.post(READY);
    assert.equal(simulation.diary("wan1").at(-1), "usable: 10.0.1.100/24, table 7701, metric 1000");
    assert.equal(world.now, 600);
  });

  test("of the helper, a lease that nobody is asked about is left in peace", () => {
    const world = makeWorld([1]);
    const sent: string[] = [];
    const simulation = new EngineSimulation(world, undefined, {
      onEffect: ({ kind }) => {
        if (kind === "send-dhcp") sent.push(kind);
      },
    });
    simulation.advance(10_000);
    sent.length = 0;
    simulation.post({ kind: "helper-lost", text: "the connection ended" });
    simulation.post(READY);
    simulation.advance(10_000);
    assert.deepEqual(sent, []);
  });

  test("of the helper, the kernel is read again once it is back: its last answers are lost", () => {
    const dumps: string[] = [];
    const simulation = new EngineSimulation(makeWorld([1]), undefined, {
      onEffect: (effect) => {
        if (effect.kind === "dump") dumps.push(effect.what);
      },
    });
    simulation.advance(10_000);
    dumps.length = 0;
    simulation.post({ kind: "helper-lost", text: "the connection ended" });
    assert.deepEqual(dumps, []);
    simulation.post(READY);
    assert.deepEqual(dumps, ["everything"]);
    assert.deepEqual(
      simulation.events.filter(({ kind }) => kind === "resynced").map(({ reason }) => reason),
      ["helper"],
    );
  });

  test("of both, what a lease left that ended meanwhile goes at once, though no server answers", () => {
    const world = makeWorld([1, 2]);
    new EngineSimulation(world).advance(10_000);
    const { model } = world.kernel;
    const ended = [...model.addresses.values()].find(({ address }) => address === ip("10.0.1.100"));
    assert.ok(ended !== undefined);
    // The link has another address, so its routes outlive the lease's.
    world.kernel.notice({ kind: "address-gone", address: ended });
    assert.ok(
      world.kernel.ours.some((key) => key.includes("7701")),
      world.kernel.ours.join("\n"),
    );
    world.leases.delete("name:wan1");
    world.silentServers.add(1);
    const kept = world.kernel.ours.filter((key) => !/7701|10\.0\.1\.|wan1| 1000$/.test(key));
    new EngineSimulation(world);
    assert.deepEqual(world.kernel.ours, kept);
  });
});
