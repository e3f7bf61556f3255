import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type Bed, withBeds } from "../bed.js";
import { nowMs } from "../kernel-timeline.js";
import { between, type Context, note } from "./context.js";

const REPAIRED_MS = 5000;

/** What MNM's work costs when there are more links: it should depend on what changed alone. */
export async function reconcile(context: Context): Promise<void> {
  const counts = context.links ?? (context.quick ? [10] : [10, 100, 1000]);
  const mnm = context.peers.filter(({ name }) => name === "mnm");
  for (const uplinks of counts) {
    await withBeds(mnm, { uplinks, tools: context.tools }, async ([bed]) => {
      if (bed === undefined) return;
      await delay(3000);
      const runs = Math.min(context.runs ?? 8, bed.links.length);
      await foreignChanges(context, bed, runs);
      for (let run = 0; run < runs; run += 1) await repair(context, bed, run);
      for (let run = 0; run < Math.min(runs, 3); run += 1) await readAgain(context, bed);
    }).catch((error: unknown) => context.figures.fail(`reconcile with ${uplinks}`, error));
  }
}

/**
 * A route of others in main, which is looked at and left alone. Those in tables that are not
 * MNM's do not even wake it: its socket has a filter.
 */
async function foreignChanges(context: Context, bed: Bed, runs: number): Promise<void> {
  const before = bed.cgroup.cpuMs();
  for (let run = 0; run < runs; run += 1) {
    const route = ["198.51.100.0/24", "dev", bed.links[run] ?? ""];
    await bed.lab.host.ip("route", "add", ...route);
    await delay(50);
    await bed.lab.host.ip("route", "del", ...route);
    await delay(50);
  }
  const cost = (bed.cgroup.cpuMs() - before) / (2 * runs);
  note(context, bed, ["reconcile: a foreign route in main changed", "CPU ms"], cost);
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
  const deletedAt = kernel.lastRule("-", mark, link);
  const restoredAt = kernel.lastRule("+", mark, link);
  note(context, bed, ["reconcile: deleted rule is back", "ms"], between(deletedAt, restoredAt));
  note(context, bed, ["reconcile: CPU of that", "CPU ms"], cgroup.cpuMs() - before);
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
