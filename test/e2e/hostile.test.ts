import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Random, randomFrom, seedOf } from "./churn.js";
import { ALLOWED, Arena } from "./hostile-arena.js";
import { Generator } from "./hostile-generator.js";
import { isWithinRanges } from "./hostile-ranges.js";
import { differences, snapshot } from "./hostile-snapshot.js";
import { type Answered, HostileWorld, type Kind, request, type Verdict } from "./hostile-world.js";

const CALLS = 10_000;
const OPERATIONS = [
  "putAddress",
  "deleteAddress",
  "putRoute",
  "deleteRoute",
  "putRule",
  "deleteRule",
  "putLinkSettings",
] as const;
const OTHERS = ["OpenPackets", "SendDhcp", "WatchArp", "SendArp", "BroadcastLegacyEvent"] as const;

type End = "forbidden" | "done" | "excused" | "wrong";

/** How an ask ended: refused as it had to be, done, excused, or otherwise. */
interface Ending {
  readonly kind: Kind;
  readonly end: End;
  readonly text: string;
}

/** What is refused always. */
const NEVER: readonly Kind[] = ["BroadcastLegacyEvent"];
/** What has a limit of a few a second. */
const SLOW: readonly Kind[] = ["SendDhcp", "SendArp"];

const seed = seedOf();

describe(`10,000 calls of a hostile controller, SEED=${seed}`, () => {
  const arenas: Arena[] = [];
  before(async () => {
    arenas.push(await Arena.create(ALLOWED.mainMetrics), await Arena.create(undefined));
  });
  after(async () => {
    for (const arena of arenas) await arena.close();
  });

  test("forbidden ones are refused, others succeed, and what belongs to others is as before", async (t) => {
    const before = await Promise.all(arenas.map(snapshot));
    const attacks = arenas.map((arena, index) =>
      attack(arena, { random: randomFrom(seed + index), count: CALLS / arenas.length }),
    );
    const endings = (await Promise.all(attacks)).flat();
    const wrong = endings.filter(({ end }) => end === "wrong").map(({ text }) => text);
    assert.deepEqual(wrong.slice(0, 5), [], `SEED=${seed}`);
    assert.equal(endings.length, CALLS);
    for (const kind of new Set([...OPERATIONS, ...OTHERS])) {
      const of = endings.filter((ending) => ending.kind === kind);
      const count = (end: End) => of.filter((ending) => ending.end === end).length;
      const counts = { forbidden: count("forbidden"), done: count("done"), all: of.length };
      t.diagnostic(`${kind}: ${JSON.stringify(counts)}`);
      const isEnough = counts.done >= (SLOW.includes(kind) ? 10 : 50) || NEVER.includes(kind);
      assert.ok(counts.forbidden >= 50 && isEnough, `${kind}: ${JSON.stringify(counts)}`);
    }
    for (const [index, arena] of arenas.entries()) {
      assert.equal(arena.rig.isRunning, true, arena.rig.log.slice(-2000));
      assert.doesNotMatch(arena.rig.log, /Call crashed/);
      const now = await snapshot(arena);
      assert.deepEqual(differences(before[index], now), []);
      assert.deepEqual(
        now.ours.filter((line) => !isWithinRanges(line, arena)),
        [],
      );
    }
  });

  test("PurgeOwned then leaves nothing of protocol 77, and all else as it is", async () => {
    for (const arena of arenas) {
      const before = await snapshot(arena);
      assert.ok(before.ours.length > 20, "there is something to remove");
      assert.equal((await arena.controller.verb("PurgeOwned", {})).code, 0);
      const now = await snapshot(arena);
      assert.deepEqual(now.ours, []);
      assert.deepEqual(differences(before, now), []);
    }
  });
});

interface Attack {
  readonly random: Random;
  readonly count: number;
}

async function attack(arena: Arena, { random, count }: Attack): Promise<readonly Ending[]> {
  const world = await HostileWorld.read(arena);
  const generator = new Generator(random, world);
  await arena.controller.verb("Hello", { protocolVersion: 1 });
  const endings: Ending[] = [];
  while (endings.length < count) {
    const isApply = random(10) < 4;
    const other = generator.pick(OTHERS);
    const size = Math.min(count - endings.length, 1 + random(isApply ? 200 : 30));
    const kindOf = (): Kind => (isApply ? generator.pick(OPERATIONS) : other);
    const asks = Array.from({ length: size }, () => generator.ask(kindOf()));
    if (other === "SendArp") await world.readRoutes();
    const answers = await request(arena, asks, random(2) === 0 ? "call" : "stream");
    for (const [index, answer] of answers.entries()) {
      const ask = asks[index];
      if (ask === undefined) throw new Error("An answer without an ask");
      const verdict = world.judge(ask);
      if (answer.outcome === "done") world.done(ask);
      const end = endOf(verdict, answer);
      const text = `${JSON.stringify(ask)}: ${answer.text}, not ${verdict.faults}`;
      endings.push({ kind: ask.kind, end, text });
    }
  }
  return endings;
}

function endOf({ faults, excuses }: Verdict, { outcome }: Answered): End {
  if (faults.length === 0 && outcome === "done") return "done";
  if (faults.length === 0) {
    return excuses.some((excuse) => outcome.startsWith(excuse)) ? "excused" : "wrong";
  }
  // The kernel may find a fault of its own before it says that another program's is there.
  const codes = [...faults, ...(faults.includes("foreign") ? ["kernel_refused"] : [])];
  return codes.includes(outcome.split(" ")[0] ?? "") ? "forbidden" : "wrong";
}
