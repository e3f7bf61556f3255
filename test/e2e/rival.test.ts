// Two controllers by mistake: the helper serves one only, and they must not take it from each other
// for ever.
import assert from "node:assert/strict";
import { chownSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { test } from "node:test";
import { until } from "../lab/index.js";
import { Scenario } from "./scenario.js";

const PATIENCE = { timeoutMs: 60_000 };
/** Each waits for 1, 2 and then 4 s: from the first takeover to the seventh it is 14 s. */
const TAKEOVERS = 7;
/** Not all 14, as the first one may be seen late; without the waiting it is half of this. */
const LEAST_MS = 10_000;

test("two controllers on one helper leave it to each other ever longer, and say why", async () => {
  await using scenario = await Scenario.start({ uplinks: 1 });
  const { lab, controller, helper } = scenario;
  const { identities, controllerSocket, stateDirectory } = lab.launcher;
  const folder = `${stateDirectory}/rival`;
  mkdirSync(folder);
  chownSync(folder, identities.controllerUid, identities.controllerGid);
  const readies = () => [...helper.log().matchAll(/Connection ready/g)].length;
  const before = readies();
  const args = ["--socket", `${dirname(controllerSocket)}/rival.sock`, "--state-dir", folder];
  const rival = await lab.startController({ args, wait: false });
  await until(() => readies() > before, { ...PATIENCE, what: "the rival's Hello" });
  const start = performance.now();
  const hasTold = async () => (await lab.mnmctl("status")).stdout.includes("another controller");
  await until(hasTold, { ...PATIENCE, what: "a status that tells of the rival" });
  await until(() => readies() >= before + TAKEOVERS, { ...PATIENCE, what: "takeovers" });
  const tookMs = performance.now() - start;
  assert.ok(tookMs > LEAST_MS, `${TAKEOVERS} takeovers in ${tookMs.toFixed(0)} ms`);
  assert.match(rival.log(), /another controller has taken it over/);
  assert.match(controller.log(), /another controller has taken it over/);
  assert.equal(await lab.whoami({ device: "wan0" }), 0, "what is in the kernel goes on");

  assert.equal((await rival.stop()).code, 0);
  const isAlone = async () => !(await lab.mnmctl("status")).stdout.includes("another controller");
  await until(isAlone, { ...PATIENCE, what: "the helper's return to the one that is left" });
});
