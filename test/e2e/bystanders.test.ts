// What belongs to others stays as it is, whatever happens around it.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Metadata } from "@grpc/grpc-js";
import { EventKind, LinkState } from "@mnm/proto/network-manager";
import { type Lab, until } from "../lab/index.js";
import { bystanders, differences, FOREIGN_LINK, foreignText, passing } from "./bystanders.js";
import { randomFrom, seedOf } from "./churn.js";
import { kernelText } from "./kernel-text.js";
import { Scenario } from "./scenario.js";

const UPLINKS = 4;
const PATIENCE_MS = 60_000;
/** Operations of other programs meanwhile, in so many batches. */
const OPERATIONS = Number(process.env["BYSTANDER_OPERATIONS"] ?? 100_000);
const BATCHES = 40;

test("1,000 objects of others are the same after 100,000 operations around them", async (context) => {
  let before: readonly string[] = [];
  await using scenario = await Scenario.start({
    uplinks: UPLINKS,
    usable: UPLINKS,
    prepare: async ({ host }) => {
      const lines = bystanders();
      assert.ok(lines.length >= 1_000);
      await host.ipBatch(lines);
      // The kernel's own IPv6 addresses are in place only when nobody has answered to them.
      await until(async () => (await host.ip("-6", "addr", "show", "tentative")) === "", {
        timeoutMs: PATIENCE_MS,
        what: "the end of duplicate address detection",
      });
      before = await foreignText(host);
    },
  });
  const { lab } = scenario;
  assert.deepEqual(differences(before, await foreignText(lab.host)), []);

  const monitor = lab.host.start("ip-monitor", MONITOR);
  const startedAt = performance.now();
  const churning = new AbortController();
  const seed = seedOf();
  const [, acts, restarts] = await Promise.all([
    passBy(lab).finally(() => churning.abort()),
    churnUplinks(scenario, seed, churning.signal),
    restartHelper(scenario, churning.signal),
  ]);
  const tookMs = performance.now() - startedAt;
  await until(() => isSettled(scenario), { timeoutMs: PATIENCE_MS, what: "all uplinks usable" });
  await monitor.stop();
  const written = monitor.log().match(/proto (77|mnm)\b|noprefixroute/g)?.length ?? 0;
  context.diagnostic(
    `SEED=${seed}: ${OPERATIONS} operations of others and ${acts} on uplinks, ${restarts} helper restarts, ${written} changes of ours, in ${tookMs.toFixed(0)} ms`,
  );
  assert.ok(written > 100, `${written} changes of ours`);
  assert.deepEqual(differences(before, await foreignText(lab.host)), []);
  assert.equal(/"level":(50|60)/.test(scenario.controller.log()), false);
});

test("routes of others at the very place of ours stay, whatever becomes of ours", async () => {
  await using scenario = await Scenario.start({
    uplinks: 2,
    prepare: ({ host }) => host.ipBatch(FOREIGN_LINK),
  });
  const { lab, log } = scenario;
  // Same destination, table and metric: only NLM_F_APPEND does that.
  await lab.host.ipBatch([
    "route append default via 192.0.2.2 dev f0 metric 1000 proto static",
    "route append default via 192.0.2.2 dev f0 metric 1001 proto static",
    "route append default via 192.0.2.2 dev f0 table 7702 proto static",
    "route append 10.1.0.0/24 dev f0 scope link table 7702 proto static",
  ]);
  const foreign = async () =>
    (await kernelText(lab.host)).routes.filter((line) => line.includes("proto static"));
  const before = await foreign();
  assert.equal(before.length, 4);
  await renew(scenario, "wan1");
  await setMetric(scenario, "wan0", 7);
  let start = log.events.length;
  await lab.host.ip("link", "set", "wan1", "down");
  await log.event(EventKind.UPLINK_UNUSABLE, "wan1", start);
  await lab.host.ip("link", "set", "wan1", "up");
  start = log.events.length;
  await scenario.helper.stop("SIGKILL");
  scenario.helper = await lab.startHelper();
  await log.event(EventKind.RESYNCED, undefined, start);
  await lab.host.ip("link", "set", "wan0", "down");
  await log.event(EventKind.UPLINK_UNUSABLE, "wan0", start);
  assert.deepEqual(await foreign(), before);

  // Ours are put in as soon as the places are free.
  await lab.host.ip("link", "del", "f0");
  await lab.host.ip("link", "set", "wan0", "up");
  await until(async () => (await lab.mnmctl("status")).code === 0, {
    timeoutMs: PATIENCE_MS,
    what: "all uplinks usable",
  });
  assert.equal(await lab.whoami({ device: "wan0" }), 0);
  assert.equal(await lab.whoami({ device: "wan1" }), 1);
});

const MONITOR = ["ip", "-4", "-o", "-rcvbuf", "4194304", "monitor", "address", "route", "rule"];

/** Other programs come and go. */
async function passBy({ directory, host }: Lab): Promise<void> {
  for (let batch = 0; batch < BATCHES; batch++) {
    const file = `${directory}/passing`;
    writeFileSync(file, `${passing(OPERATIONS / BATCHES, batch).join("\n")}\n`);
    await host.ip("-b", file);
    await delay(500);
  }
}

/**
 * Carrier of wan1 and wan2, all of wan3, metrics and leases, in turn; answers how many times. The
 * first three hold what is others', which the kernel itself would remove with a link.
 */
async function churnUplinks(scenario: Scenario, seed: number, signal: AbortSignal) {
  const { lab } = scenario;
  const random = randomFrom(seed);
  let acts = 0;
  for (; !signal.aborted; acts += 8) {
    const index = 1 + random(2);
    await lab.unplug(index);
    await setMetric(scenario, `wan${random(UPLINKS)}`, 2_000 + random(5_000));
    await lab.plug(index);
    await renew(scenario, `wan${random(UPLINKS)}`);
    await lab.removeLink(3);
    await setMetric(scenario, `wan${random(3)}`, 2_000 + random(5_000));
    await lab.addLink(3);
    await renew(scenario, `wan${random(UPLINKS)}`);
    await delay(random(400));
  }
  return acts;
}

/** Refused where another link has it. */
function setMetric({ client }: Scenario, link: string, metric: number): Promise<void> {
  return new Promise((resolve) => {
    const request = { link, metric, swap: false, persist: false };
    client.setMetric(request, new Metadata(), { deadline: Date.now() + 1_000 }, () => resolve());
  });
}

/** Refused while the link has no lease. */
function renew({ client }: Scenario, link: string): Promise<void> {
  return new Promise((resolve) => {
    client.renew({ link }, () => resolve());
  });
}

async function restartHelper(scenario: Scenario, signal: AbortSignal): Promise<number> {
  let restarts = 0;
  while (!signal.aborted) {
    await delay(2_000);
    await scenario.helper.stop("SIGKILL");
    scenario.helper = await scenario.lab.startHelper();
    restarts += 1;
  }
  return restarts;
}

async function isSettled(scenario: Scenario): Promise<boolean> {
  const { links } = await scenario.status();
  return links.filter(({ state }) => state === LinkState.USABLE).length === UPLINKS;
}
