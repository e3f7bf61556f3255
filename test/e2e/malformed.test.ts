import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createConnection } from "node:net";
import { test } from "node:test";
import { until } from "../lab/index.js";
import { MALFORMED } from "./malformed.js";
import { Scenario, statusOf } from "./scenario.js";

/** Enough that one kept for each opening stands out. */
const EACH = 4;

test("malformed sessions leave no descriptor behind, and hold nobody up", async (t) => {
  await using scenario = await Scenario.start({ uplinks: 1 });
  const { controller, lab } = scenario;
  const descriptors = () => readdirSync(`/proc/${controller.pid}/fd`).length;
  const before = descriptors();
  for (const { bytes } of MALFORMED) {
    for (const hangsUp of Array.from({ length: EACH }, (_, index) => index % 2 === 0)) {
      const socket = createConnection(lab.launcher.controllerSocket);
      socket.on("error", () => undefined).resume();
      await once(socket, "connect");
      socket.write(bytes);
      // Node has read it when the answer to another call is there.
      await statusOf(scenario.client);
      if (hangsUp) socket.destroy();
      else socket.end();
    }
  }
  t.diagnostic(`${before} descriptors before, ${descriptors()} after`);
  await until(() => descriptors() <= before, {
    timeoutMs: 20_000,
    what: `${before} descriptors, as before`,
  });
  assert.equal((await statusOf(scenario.client)).links.length, 1);
});
