import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { randomFrom, seedOf } from "./churn.js";
import { CrashScene, textOf, type Victim } from "./crash-scene.js";
import { describeTimes, percentile } from "./times.js";

/** As many as fit into a minute; `make soak` has 200. */
const KILLS = Number(process.env["KILLS"] ?? 50);

/** The goal for the time from the start of the program until the kernel holds the plan. */
const GOALS_MS: Readonly<Record<Victim, number>> = { helper: 1_000, controller: 2_000 };
/** A machine that is busy with other tests is allowed this much more. */
const NOISE = 4;

describe("kill -9 at any moment, while uplinks come and go", { concurrency: 2 }, () => {
  for (const victim of ["helper", "controller"] as const) {
    test(`of the ${victim}, ${KILLS} times: the steady uplink notices nothing`, async (t) => {
      const seed = seedOf();
      t.diagnostic(`SEED=${seed}`);
      await using scene = await CrashScene.start(randomFrom(seed));
      const times: number[] = [];
      for (let kill = 0; kill < KILLS; kill += 1) times.push(await scene.kill(victim));
      t.diagnostic(`converged after a start, ms: ${describeTimes(times)}`);

      await scene.settle();
      const { count, deleted } = await scene.end();
      t.diagnostic(`${count.sent} pings, longest gap ${count.longestGapMs} ms`);
      assert.equal(count.lost, 0, `${count.lost} of ${count.sent} pings lost; SEED=${seed}`);
      assert.deepEqual(deleted, [], `SEED=${seed}`);
      assert.ok(percentile(times, 50) <= GOALS_MS[victim], describeTimes(times));
      assert.ok(percentile(times, 95) <= NOISE * GOALS_MS[victim], describeTimes(times));

      const after = await textOf(scene);
      await scene.startAfresh();
      assert.deepEqual(after, await textOf(scene), "as a fresh start makes it");
    });
  }
});
