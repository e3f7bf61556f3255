import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ALLOWED, Arena } from "./hostile-arena.js";
import { forbiddenCalls } from "./hostile-cases.js";
import { differences, snapshot } from "./hostile-snapshot.js";
import { validCalls } from "./hostile-valid.js";
import type { Message } from "./hostile-wire.js";
import { type Kind, request } from "./hostile-world.js";

const FIRST = [
  ...(["putAddress", "putRoute", "putRule", "putLinkSettings"] as const),
  ...(["OpenPackets", "SendDhcp", "WatchArp", "SendArp"] as const),
];
const LAST = ["deleteRule", "deleteRoute", "deleteAddress"] as const;

describe("a hostile controller and the sentences of the contract", () => {
  let arena: Arena;
  before(async () => {
    arena = await Arena.create(ALLOWED.mainMetrics);
    await arena.controller.verb("Hello", { protocolVersion: 1 });
  });
  after(() => arena.close());

  const outcome = async (kind: Kind, message: Message) =>
    (await request(arena, [{ kind, request: message }])).map((answered) => answered.outcome).join();

  test("what breaks one is refused and leaves no trace, what breaks none succeeds", async () => {
    const valid = validCalls(arena);
    const before = await snapshot(arena);
    for (const kind of FIRST) assert.equal(await outcome(kind, valid[kind]), "done", kind);
    const held = await snapshot(arena);
    assert.equal(held.ours.length, 3);
    assert.deepEqual(differences(before, held), []);
    const frames = await arena.framesOut();

    const cases = forbiddenCalls(arena);
    assert.ok(cases.length >= 150, `${cases.length} cases`);
    const answers: string[] = [];
    for (const [sentence, kind, message] of cases) {
      answers.push(`${sentence}: ${kind}: ${await outcome(kind, message)}`);
    }
    const wanted = cases.map(([sentence, kind, , want]) => `${sentence}: ${kind}: ${want}`);
    assert.deepEqual(answers, wanted);
    assert.deepEqual(await snapshot(arena), held);
    assert.equal(await arena.framesOut(), frames);
    assert.doesNotMatch(arena.rig.log, /Call crashed/);

    for (const kind of LAST) assert.equal(await outcome(kind, valid[kind]), "done", kind);
    assert.deepEqual(await snapshot(arena), before);
  });
});
