import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Ifindex, instantFromMs } from "@mnm/proto/net";
import { LegacyBroadcast } from "./legacy-broadcast.js";
import { Outbox } from "./outbox.js";

const UP = (ifindex: number) => ({ ifindex: ifindex as Ifindex, isUp: true });
const DOWN = (ifindex: number) => ({ ifindex: ifindex as Ifindex, isUp: false });

/** What is told at that second, such as `up 3`. */
function told(legacy: LegacyBroadcast, atSec: number, isWanted = true): readonly string[] {
  const outbox = new Outbox(instantFromMs(atSec * 1000));
  legacy.send(isWanted, outbox);
  return outbox.effects.flatMap((effect) =>
    effect.kind === "broadcast-legacy"
      ? effect.events.map(({ ifindex, isUp }) => `${isUp ? "up" : "down"} ${ifindex}`)
      : [],
  );
}

describe("LegacyBroadcast", () => {
  test("tells of news at once, repeats what is up after 30 s of quiet, and then no longer", () => {
    const legacy = new LegacyBroadcast();
    assert.deepEqual(told(legacy, 0), []);
    assert.equal(legacy.deadline(), undefined, "nothing is up: nothing wakes us");
    legacy.note(UP(3));
    legacy.note(UP(4));
    assert.deepEqual(told(legacy, 1), ["up 3", "up 4"]);
    assert.equal(legacy.deadline(), 31_000);
    assert.deepEqual(told(legacy, 20), []);
    assert.deepEqual(told(legacy, 31), ["up 3", "up 4"]);
    legacy.note(DOWN(3));
    assert.deepEqual(told(legacy, 40), ["down 3"]);
    assert.equal(legacy.deadline(), 70_000, "what was said is 30 s of quiet away again");
    assert.deepEqual(told(legacy, 70), ["up 4"]);
    legacy.note(DOWN(4));
    assert.deepEqual(told(legacy, 71), ["down 4"]);
    assert.deepEqual(told(legacy, 500), []);
    assert.equal(legacy.deadline(), undefined);
  });

  test("a link that goes and comes between two looks is told as both, in that order", () => {
    const legacy = new LegacyBroadcast();
    legacy.note(UP(3));
    assert.deepEqual(told(legacy, 0), ["up 3"]);
    legacy.note(DOWN(3));
    legacy.note(UP(5));
    assert.deepEqual(told(legacy, 1), ["down 3", "up 5"]);
  });

  test("tells nobody until it is wanted, and then of all that is up", () => {
    const legacy = new LegacyBroadcast();
    legacy.note(UP(3));
    legacy.note(UP(4));
    assert.deepEqual(told(legacy, 0, false), []);
    legacy.note(DOWN(4));
    assert.deepEqual(told(legacy, 1, false), []);
    assert.equal(legacy.deadline(), undefined);
    assert.deepEqual(told(legacy, 2), ["up 3"]);
    assert.deepEqual(told(legacy, 3, false), []);
    assert.deepEqual(told(legacy, 4), ["up 3"]);
  });

  test("warns once that the helper did not do it", () => {
    const legacy = new LegacyBroadcast();
    const outbox = new Outbox(instantFromMs(0));
    for (const text of ["off", "off", "gone"]) legacy.failed(text, outbox);
    const levels = outbox.effects.map((effect) => effect.kind === "log" && effect.entry.level);
    assert.deepEqual(levels, ["warn", "debug", "debug"]);
  });
});
