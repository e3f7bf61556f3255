// A receive buffer that is far too small, and thousands of changes at once: nearly all notifications
// are lost, and the controller comes to know of the changes all the same.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { EventKind } from "@mnm/proto/network-manager";
import { type Namespace, until } from "../lab/index.js";
import { kernelText, ours } from "./kernel-text.js";
import { kernelLinkText, modelText } from "./model-text.js";
import { costOf } from "./process-cost.js";
import { usableStatus } from "./restarts.js";
import { Scenario } from "./scenario.js";

const BUFFER = ["--receive-buffer", "4096"];
const GOAL_MS = 2_000;
/** Longer than the goal, to say how far it was missed. */
const PATIENCE_MS = 20_000;
/** The least time between two listings of everything. */
const PAUSE_MS = 500;

/** Links of other programs, x0 to x7, each with a peer that has its name with `p` before it. */
const OTHERS = Array.from({ length: 8 }, (_, index) => [
  `link add x${index} type veth peer name px${index}`,
  `link set px${index} up`,
  `link set x${index} up`,
]).flat();

test("10,000 changes with a receive buffer of 4 KiB: the model is right within 2 s", async (context) => {
  await using scenario = await Scenario.start({
    uplinks: 3,
    controller: { args: BUFFER },
    prepare: (lab) => lab.host.ipBatch(OTHERS),
  });
  const { lab, log } = scenario;
  const before = await ours(lab.host);
  const start = log.events.length;
  const cpuBefore = costOf(scenario.controller).cpuMs;
  const startedAt = performance.now();
  const batches = [links(), addresses(), routes(), rules()];
  const count = batches.flat().length;
  assert.ok(count >= 10_000, `${count} changes`);
  await Promise.all(
    batches.map((lines, index) => runBatch(lab.host, `${lab.directory}/batch${index}`, lines)),
  );
  await lab.host.ipBatch(DAMAGE);
  const changedAt = performance.now();

  const agrees = async () =>
    same(await kernelLinkText(lab.host), modelText(await scenario.status()));
  await until(agrees, { timeoutMs: PATIENCE_MS, what: "a model that is as ip(8) says" });
  const agreedMs = performance.now() - changedAt;
  const heals = async () => same(await ours(lab.host), before);
  await until(heals, { timeoutMs: PATIENCE_MS, what: "what is ours as it was" });
  const healedMs = performance.now() - changedAt;
  const resyncs = log.events.slice(start).filter(({ kind }) => kind === EventKind.RESYNCED);
  const cpuMs = costOf(scenario.controller).cpuMs - cpuBefore;
  context.diagnostic(
    `${count} changes in ${(changedAt - startedAt).toFixed(0)} ms; the model right after ${agreedMs.toFixed(0)} ms, the kernel after ${healedMs.toFixed(0)} ms; ${resyncs.length} resyncs, ${cpuMs} ms of CPU`,
  );
  assert.ok(agreedMs <= GOAL_MS, `the model: ${agreedMs} ms`);
  assert.ok(healedMs <= GOAL_MS, `the kernel: ${healedMs} ms`);
  assert.ok(resyncs.length > 0, "no notification was lost");
  for (const [index, { bootMs }] of resyncs.entries()) {
    const next = resyncs[index + 1];
    const pauseMs = next === undefined ? PAUSE_MS : Number(next.bootMs - bootMs);
    assert.ok(pauseMs >= PAUSE_MS, `resyncs ${pauseMs} ms apart`);
  }
  assert.equal(/"level":(50|60)|Error|exception/.test(scenario.controller.log()), false);

  // Another controller, which has seen nothing of all this, plans the same.
  const held = await kernelText(lab.host);
  await scenario.controller.stop();
  scenario.controller = await lab.startController({ args: BUFFER });
  await usableStatus(lab);
  assert.deepEqual(await kernelText(lab.host), held);
});

/** Admin state, MTU, MAC and name of some links, and others that come and go. Ends otherwise. */
function links(): readonly string[] {
  const changes = Array.from({ length: 400 }, (_, round) => [
    `link set x${round % 4} down`,
    `link set x${round % 4} mtu ${1200 + round}`,
    `link set x${round % 4} name y`,
    `link set y address 02:00:00:00:ff:${(round % 256).toString(16).padStart(2, "0")}`,
    `link set y name x${round % 4}`,
    `link set x${round % 4} up`,
  ]).flat();
  const comings = Array.from({ length: 100 }, (_, round) => [
    `link add z${round} type veth peer name pz${round}`,
    ...(round < 95 ? [`link del z${round}`] : []),
  ]).flat();
  return [...changes, ...comings, "link set px2 down", "link set x3 down", "link del x7"];
}

/** On links of ours and of others; every tenth stays. */
function addresses(): readonly string[] {
  return Array.from({ length: 1_500 }, (_, index) => {
    const link = index % 3 === 0 ? "wan2" : `x${4 + (index % 3)}`;
    const address = `198.18.${index >> 8}.${index & 255}/32 dev ${link}`;
    return index % 10 === 0
      ? [`addr add ${address}`]
      : [`addr add ${address}`, `addr del ${address}`];
  }).flat();
}

/** On a link that keeps what it has. Defaults in main, which the controller follows, and routes in its own tables. */
function routes(): readonly string[] {
  return Array.from({ length: 2_000 }, (_, index) => {
    const route =
      index % 2 === 0
        ? `default dev x4 metric ${40_000 + index}`
        : `192.0.2.${index & 255} dev x4 table 7702 metric ${index}`;
    return index % 40 === 0 ? [`route add ${route}`] : [`route add ${route}`, `route del ${route}`];
  }).flat();
}

function rules(): readonly string[] {
  return Array.from({ length: 800 }, (_, index) => {
    const rule = `priority ${10_000 + (index % 7)} from 203.0.113.${index & 255} lookup ${900 + index}`;
    return index % 20 === 0 ? [`rule add ${rule}`] : [`rule add ${rule}`, `rule del ${rule}`];
  }).flat();
}

/** What is ours is taken away as well, and no notification may be left to tell. */
const DAMAGE = [
  "rule del priority 9500",
  "route flush table 7701",
  "addr del 10.1.0.100/24 dev wan1",
  "route del default metric 1002",
];

async function runBatch(host: Namespace, file: string, lines: readonly string[]): Promise<void> {
  writeFileSync(file, `${lines.join("\n")}\n`);
  const { code, stderr } = await host.exec("ip", "-b", file);
  assert.equal(code, 0, stderr);
}

function same(one: readonly string[], other: readonly string[]): boolean {
  return one.join("\n") === other.join("\n");
}
