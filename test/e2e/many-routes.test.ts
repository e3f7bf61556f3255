// A million foreign routes in main, as a router with full tables has them. What MNM costs beside
// them is compared with what it costs without, in the same lab and by the same steps.
import assert from "node:assert/strict";
import { closeSync, openSync, writeSync } from "node:fs";
import { test } from "node:test";
import { EventKind } from "@mnm/proto/network-manager";
import { type Lab, until } from "../lab/index.js";
import { type ProcessCost, totalCost } from "./process-cost.js";
import { Scenario } from "./scenario.js";

const COUNT = 1_000_000;
const FOREIGN_METRIC = 9_999;

/** The link of another program, and nothing of ours. */
const CORE_LINK = [
  "link add core0 type veth peer name core1",
  "addr add 192.0.2.1/24 dev core0",
  "link set core1 up",
  "link set core0 up",
];

test("a million foreign routes in main cost neither memory nor time", async (context) => {
  await using scenario = await Scenario.start({
    uplinks: 2,
    prepare: (lab) => lab.host.ipBatch(CORE_LINK),
  });
  const report = (what: string, cost: ProcessCost) =>
    context.diagnostic(`${what}: ${cost.cpuMs} ms of CPU, ${cost.residentKb} KB resident`);
  const cost = () => totalCost([scenario.helper, scenario.controller]);

  await auditAndFlap(scenario);
  const without = cost();
  report("start, audit and flap without", without);

  const startedAt = performance.now();
  await addRoutes(scenario.lab);
  const took = Math.round(performance.now() - startedAt);
  const beside = cost();
  report(`while they were added in ${took} ms`, difference(beside, without));
  assert.ok(beside.cpuMs - without.cpuMs <= 1_000, "notifications that nobody needs");

  await auditAndFlap(scenario);
  report("audit and flap with them", difference(cost(), beside));

  await restart(scenario);
  await auditAndFlap(scenario);
  const withRoutes = cost();
  report("start, audit and flap with them", withRoutes);
  assert.ok(withRoutes.cpuMs <= 5_000, `${withRoutes.cpuMs} ms of CPU`);
  const moreKb = withRoutes.residentKb - without.residentKb;
  assert.ok(moreKb <= 10 * 1024, `${moreKb} KB more`);

  // The helper finds our default in its place, and looks whose it is.
  const swapped = await scenario.lab.mnmctl("set-metric", "wan1", "1000", "--swap");
  assert.equal(swapped.code, 0, swapped.stderr);
  const exchange = difference(cost(), withRoutes);
  report("an exchange of metrics with them", exchange);
  assert.ok(exchange.cpuMs <= 1_000, `${exchange.cpuMs} ms of CPU`);
  assert.ok(exchange.residentKb <= 10 * 1024, `${exchange.residentKb} KB more`);

  // What another program put among them is seen, and nothing of it is missing.
  const refused = await scenario.lab.mnmctl("set-metric", "wan1", `${FOREIGN_METRIC}`);
  assert.match(refused.stderr, /another program/);
  const count = await scenario.lab.host.shell("ip -4 route show table main proto static | wc -l");
  assert.equal(Number(count), COUNT + 1);
});

function difference(cost: ProcessCost, before: ProcessCost): ProcessCost {
  return {
    cpuMs: cost.cpuMs - before.cpuMs,
    residentKb: cost.residentKb - before.residentKb,
  };
}

/** All at once, as a routing daemon does when it starts, and a default after them. */
async function addRoutes({ directory, host }: Lab): Promise<void> {
  const batch = `${directory}/routes`;
  const file = openSync(batch, "w");
  const portion = 10_000;
  for (let first = 0; first < COUNT; first += portion) {
    const lines = Array.from({ length: portion }, (_, offset) => routeLine(first + offset));
    writeSync(file, lines.join(""));
  }
  closeSync(file);
  await host.ip("-b", batch);
  const foreign = ["via", "192.0.2.2", "metric", `${FOREIGN_METRIC}`, "proto", "static"];
  await host.ip("route", "add", "default", ...foreign);
}

/** From 64.0.0.0 on, where nothing else of the lab is but what its ISPs have outside. */
function routeLine(index: number): string {
  const octets = [64 + (index >> 16), (index >> 8) & 255, index & 255];
  return `route add ${octets.join(".")}.0/24 via 192.0.2.2 proto static\n`;
}

async function restart(scenario: Scenario): Promise<void> {
  await scenario.controller.stop();
  await scenario.helper.stop();
  const { lab } = scenario;
  [scenario.helper, scenario.controller] = await Promise.all([
    lab.startHelper(),
    lab.startController(),
  ]);
  await scenario.resubscribe();
  await scenario.usable(2);
}

/** An audit, a loss of carrier that is more than a moment, and a link that is set down. */
async function auditAndFlap({ lab, log }: Scenario): Promise<void> {
  // A write under /proc/sys makes the controller read everything again, as each minute does.
  const setting = "/proc/sys/net/ipv4/conf/core0/rp_filter";
  await lab.host.shell(`echo 1 >${setting}; echo 2 >${setting}`);
  let start = log.events.length;
  await lab.unplug(1);
  await log.event(EventKind.UPLINK_UNUSABLE, "wan1", start);
  start = log.events.length;
  await lab.plug(1);
  await log.event(EventKind.UPLINK_USABLE, "wan1", start);
  start = log.events.length;
  await lab.host.ip("link", "set", "wan1", "down");
  await log.event(EventKind.UPLINK_UNUSABLE, "wan1", start);
  start = log.events.length;
  await lab.host.ip("link", "set", "wan1", "up");
  await log.event(EventKind.UPLINK_USABLE, "wan1", start);
  await until(async () => (await lab.mnmctl("status")).code === 0, {
    timeoutMs: 10_000,
    what: "every uplink usable",
  });
}
