import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseConfig } from "../config/index.js";
import { EngineSimulation, makeWorld, type World } from "../testing/engine-simulation.js";
import { makeLink } from "../testing/make.js";

const MANAGED = 'links: { "wan*": {} }\non_stop: flush\n';

function settingsOf(world: World) {
  return world.kernel.model.links.get(makeLink(1).ifindex)?.settings;
}

/** Where in the kernel's log the first line is that matches. */
function lineOf(world: World, pattern: RegExp): number {
  const index = world.kernel.log.findIndex((line) => pattern.test(line));
  assert.notEqual(index, -1, world.kernel.log.join("\n"));
  return index;
}

/**
 * The helper's answer may come before the kernel's notification of the link, and then that brings
 * nothing new. The simulated kernel never sends one.
 */
describe("settings of a link, at the end", () => {
  const ends: Readonly<Record<string, (simulation: EngineSimulation) => void>> = {
    "the controller ends": (simulation) => simulation.post({ kind: "stop" }),
    "the link is no longer managed": (simulation) => {
      const config = parseConfig("default: ignore\n", "test.yaml");
      assert.ok(config.ok);
      simulation.post({ kind: "config", config: config.value, file: "test.yaml" });
    },
  };
  for (const [name, end] of Object.entries(ends)) {
    test(`${name}: they are what they were`, () => {
      const world = makeWorld([1]);
      const before = settingsOf(world);
      const simulation = new EngineSimulation(world, MANAGED);
      assert.equal(settingsOf(world)?.promoteSecondaries, 1);
      end(simulation);
      assert.deepEqual(settingsOf(world), before);
      assert.deepEqual(world.kernel.ours, []);
    });

    test(`${name}: our address goes while the kernel still spares the others in its prefix`, () => {
      const world = makeWorld([1]);
      const simulation = new EngineSimulation(world, MANAGED);
      world.kernel.log.length = 0;
      end(simulation);
      const gone = lineOf(world, /^ip address delete 10\.0\.1\.100/);
      const putBack = lineOf(world, /promote_secondaries=0/);
      assert.ok(gone < putBack, world.kernel.log.join("\n"));
    });
  }
});
