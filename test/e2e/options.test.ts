import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Lab, until } from "../lab/index.js";
import { kernelText, ours } from "./kernel-text.js";
import { Scenario } from "./scenario.js";

const MULTI = `wan0: { proto: other, metric: 7 }
wan1: { proto: static, address: 10.1.0.50, netmask: 255.255.255.0, gateway: 10.1.0.1, metric: 3 }
`;

/** The process that runs the controller in the background; undefined when there is none. */
async function backgroundPid(lab: Lab): Promise<number | undefined> {
  const pids = (await lab.host.shell(`ip netns pids ${lab.host.name}`)).trim().split("\n");
  return pids.map(Number).find((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("mnm-controller.js");
    } catch {
      return false;
    }
  });
}

test("-d runs in the background, -l logs there, and MULTI's file is read as it stands", async () => {
  await using lab = await Lab.create({ uplinks: 2 });
  await lab.startHelper();
  const file = `${lab.launcher.stateDirectory}/mnm.log`;
  const args = ["-d", "-u", "-l", file];
  const parent = await lab.startController({ wait: false, args, config: MULTI, confined: false });
  assert.equal((await parent.exited()).code, 0, parent.log());
  const pid = await backgroundPid(lab);
  assert.ok(pid !== undefined, "a process in the background");
  try {
    await until(
      async () => ((await lab.mnmctl("status")).stdout.match(/ usable /g) ?? []).length === 2,
      { timeoutMs: 10_000, what: "both uplinks" },
    );
    assert.equal(await lab.whoami(), 1, "the static one has the lower metric");
    const lines = readFileSync(file, "utf8").trim().split("\n");
    const messages = lines.map((line) => (JSON.parse(line) as { msg: string }).msg);
    assert.ok(messages.includes("started"));
  } finally {
    process.kill(pid, "SIGTERM");
    await until(async () => (await backgroundPid(lab)) === undefined, {
      timeoutMs: 10_000,
      what: "the end of the background process",
    });
  }
});

test("-d tells of a start that fails", async () => {
  await using lab = await Lab.create({ uplinks: 1 });
  const args = ["-d", "-l", "/nonexistent/mnm.log"];
  const parent = await lab.startController({ wait: false, args, confined: false });
  assert.equal((await parent.exited()).code, 1);
  assert.match(parent.log(), /log file \/nonexistent\/mnm\.log cannot be opened/);
});

test("on_stop: keep leaves everything, flush nothing", async () => {
  const config = (onStop: string) => `links: { "wan*": {} }\non_stop: ${onStop}\n`;
  await using scenario = await Scenario.start({
    uplinks: 2,
    controller: { config: config("keep") },
  });
  const { lab } = scenario;
  const before = await kernelText(lab.host);
  assert.equal((await scenario.controller.stop()).code, 0);
  assert.deepEqual(await kernelText(lab.host), before);

  scenario.controller = await lab.startController({ config: config("flush") });
  await until(async () => (await lab.mnmctl("status")).code === 0, {
    timeoutMs: 10_000,
    what: "usable uplinks",
  });
  assert.equal((await scenario.controller.stop()).code, 0);
  assert.deepEqual(await ours(lab.host), []);
});

test("unique: the later of two equal addresses is declined, and the first one stays", async () => {
  await using scenario = await Scenario.start({
    uplinks: 2,
    mode: "same",
    usable: 1,
    controller: { args: ["-u"] },
  });
  const { lab, log } = scenario;
  await log.until("a declined lease", ({ events }) =>
    events.some(({ text }) => text.startsWith("declined 192.168.8.100")),
  );
  const held = (await kernelText(lab.host)).addresses.filter((line) =>
    line.includes("192.168.8.100"),
  );
  assert.equal(held.length, 1);
  // Both who has it and what can be done are said; which of the two is later is chance.
  const { stdout } = await lab.mnmctl("status");
  assert.match(
    stdout,
    /^! (wan[01]): declined 192\.168\.8\.100, which (?!\1)wan[01] has \(unique\); asks again in \d+ s \(mnmctl reconnect \1 asks now\)$/m,
  );
  const loser = /^! (wan[01]):/m.exec(stdout)?.[1] ?? "";
  const { dhcp } = await scenario.link(loser);
  assert.deepEqual([dhcp?.state, dhcp?.wait?.cause], ["init", "unique"]);
  assert.match(
    (await lab.mnmctl("link", loser)).stdout,
    /^ {2}dhcp {8}init, asks again in \d+ s \(wan[01] has 192\.168\.8\.100\)$/m,
  );
});
