import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type Bed, withBeds } from "../bed.js";
import { nowMs } from "../kernel-timeline.js";
import { between, type Context, note } from "./context.js";

const REPAIRED_MS = 5000;
/** How long MNM leaves an object alone that another program has just disturbed (engine/repairs.ts). */
const QUIET_MS = 250;
const EVENT_PAIRS = 20;
/** So that each event is looked at on its own. */
const EVENT_PAUSE_MS = 20;

/** What MNM's work costs when there are more links: it should depend on what changed alone. */
export async function reconcile(context: Context): Promise<void> {
  const counts = context.links ?? (context.quick ? [10] : [10, 100, 1000]);
  const mnm = context.peers.filter(({ name }) => name === "mnm");
  for (const uplinks of counts) {
    await withBeds(mnm, { uplinks, tools: context.tools }, async ([bed]) => {
      if (bed === undefined) return;
      await delay(3000);
      // Each new address is announced and guarded for a while, which is not what is asked here.
      await quiet(bed);
      const runs = Math.min(context.runs ?? 8, bed.links.length);
      for (let run = 0; run < runs; run += 1) await events(context, bed);
      for (let run = 0; run < runs; run += 1) await repair(context, bed, run);
      for (let run = 0; run < Math.min(runs, 3); run += 1) await readAgain(context, bed);
    }).catch((error: unknown) => context.figures.fail(`reconcile with ${uplinks}`, error));
  }
}

/**
 * CPU of one event that MNM hears, looks at, and leaves alone: the same event again and again, as the
 * work for one is less than what can be measured.
 */
async function events(context: Context, bed: Bed): Promise<void> {
  const { host } = bed.lab;
  const [link = ""] = bed.links;
  // A default that nothing uses: other routes of others do not even wake MNM, its socket has a filter.
  const route = ["default", "dev", link, "metric", "29999"];
  const happenings = [
    [
      "another program's default comes or goes",
      ["route", "add", ...route],
      ["route", "del", ...route],
    ],
    [
      "MTU of a link changes",
      ["link", "set", link, "mtu", "1400"],
      ["link", "set", link, "mtu", "1500"],
    ],
  ] as const;
  for (const [name, there, back] of happenings) {
    const before = bed.cgroup.cpuMs();
    for (let pair = 0; pair < EVENT_PAIRS; pair += 1) {
      await host.ip(...there);
      await delay(EVENT_PAUSE_MS);
      await host.ip(...back);
      await delay(EVENT_PAUSE_MS);
    }
    const cost = (bed.cgroup.cpuMs() - before) / (2 * EVENT_PAIRS);
    note(context, bed, [`reconcile: ${name}`, "CPU ms"], cost);
  }
}

/** A rule of MNM's is deleted; it comes back after the quiet time that MNM waits by intent. */
async function repair(context: Context, bed: Bed, index: number): Promise<void> {
  const { kernel, lab, cgroup } = bed;
  const [mark, before] = [kernel.mark(), cgroup.cpuMs()];
  const address = lab.isps[index]?.address ?? "";
  await lab.host.ip("rule", "del", "from", address, "priority", "10000");
  const link = bed.links[index];
  await kernel.until(REPAIRED_MS, () => kernel.lastRule("+", mark, link));
  await delay(200);
  const tookMs = between(kernel.lastRule("-", mark, link), kernel.lastRule("+", mark, link));
  const beyondMs = tookMs === undefined ? undefined : tookMs - QUIET_MS;
  const name = `reconcile: deleted rule is back, beyond the ${QUIET_MS} ms of waiting on purpose`;
  note(context, bed, [name, "ms"], beyondMs);
  note(context, bed, ["reconcile: CPU of that repair", "CPU ms"], cgroup.cpuMs() - before);
}

/** A reload: configuration and kernel are read again, and nothing differs. */
async function readAgain(context: Context, bed: Bed): Promise<void> {
  const before = bed.cgroup.cpuMs();
  const controller = bed.cgroup
    .pids()
    .find((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("mnm-controller.js"));
  if (controller === undefined) throw new Error("The controller is gone");
  process.kill(controller, "SIGHUP");
  await quiet(bed);
  note(context, bed, ["reconcile: reload, nothing differs", "CPU ms"], bed.cgroup.cpuMs() - before);
}

/** Until it used less than 2 ms of CPU within half a second. */
async function quiet({ cgroup }: Bed): Promise<void> {
  const end = nowMs() + 20_000;
  while (nowMs() < end) {
    const before = cgroup.cpuMs();
    await delay(500);
    if (cgroup.cpuMs() - before < 2) return;
  }
}
