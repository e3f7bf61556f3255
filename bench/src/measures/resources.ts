import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { Bed, withBeds } from "../bed.js";
import type { Peer } from "../peer.js";
import { type Context, note } from "./context.js";

/** Memory of programs whose N uplinks have been usable for two seconds. */
export async function memory(context: Context): Promise<void> {
  const counts = context.links ?? (context.quick ? [8] : [1, 8, 128]);
  for (const uplinks of counts) {
    for (const peer of context.peers.filter(({ maxLinks }) => maxLinks >= uplinks)) {
      await memoryOnce(context, peer, uplinks).catch((error: unknown) =>
        context.figures.fail(`memory of ${peer.name} with ${uplinks}`, error),
      );
    }
  }
  perLink(context);
}

/** Cold start and memory of MNM alone with a thousand uplinks. */
export async function thousand(context: Context): Promise<void> {
  if (context.quick) return;
  const [mnm] = context.peers;
  if (mnm?.name !== "mnm") return;
  const bed = await Bed.build(mnm, 1000, context.tools);
  try {
    await bed.start(true);
    await bed.allReady();
    const last = bed.kernel.events.findLast(({ kind, sign }) => kind === "rule" && sign === "+");
    const tookMs = (last?.at ?? Number.NaN) - bed.startedAt();
    note(context, bed, ["cold start: and all rules", "ms"], tookMs);
    note(context, bed, ["cold start: CPU", "CPU ms"], bed.cgroup.cpuMs());
    await delay(2000);
    noteMemory(context, bed);
    const before = bed.cgroup.cpuMs();
    await delay(20_000);
    note(context, bed, ["idle for 20 s: CPU", "CPU ms"], bed.cgroup.cpuMs() - before);
  } finally {
    await bed.close();
  }
  perLink(context);
}

async function memoryOnce(context: Context, peer: Peer, uplinks: number): Promise<void> {
  const bed = await Bed.ready(peer, uplinks, context.tools);
  try {
    await delay(2000);
    noteMemory(context, bed);
  } finally {
    await bed.close();
  }
}

function noteMemory(context: Context, bed: Bed): void {
  const { rssKb, pssKb, privateKb } = bed.cgroup.memory();
  note(context, bed, ["memory: PSS", "kB"], pssKb);
  note(context, bed, ["memory: private", "kB"], privateKb);
  note(context, bed, ["memory: RSS", "kB"], rssKb);
  if (bed.peer.name !== "mnm") return;
  for (const pid of bed.cgroup.pids()) {
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    const program = command.includes("mnm-helper.js") ? "helper" : "controller";
    const { rssKb, privateKb } = bed.cgroup.memory([pid]);
    note(context, bed, [`memory: RSS of the ${program}`, "kB"], rssKb);
    note(context, bed, [`memory: private of the ${program}`, "kB"], privateKb);
  }
}

/** What an uplink more costs, from the fewest to the most that were measured. */
function perLink({ figures, peers }: Context): void {
  for (const { name } of peers) {
    const sizes = figures.all
      .filter(({ measure, peer }) => measure === "memory: private" && peer === name)
      .toSorted((a, b) => a.links - b.links);
    const [few, many] = [sizes[0], sizes.at(-1)];
    if (few === undefined || many === undefined || few.links === many.links) continue;
    const grown = (many.values[0] ?? Number.NaN) - (few.values[0] ?? Number.NaN);
    const key = { measure: "memory: private, each further link", unit: "kB" } as const;
    figures.add({ ...key, links: many.links, peer: name }, grown / (many.links - few.links));
  }
}

/** CPU time and wake-ups of programs that have nothing to do, all at once. */
export async function idle(context: Context): Promise<void> {
  const uplinks = context.links?.[0] ?? 8;
  const seconds = context.quick ? 10 : 60;
  await withBeds(context.peers, { uplinks, tools: context.tools }, async (beds) => {
    // Timers of the start shall be over: hold-downs, announcements, garbage collection.
    await delay(context.quick ? 3000 : 12_000);
    const before = beds.map(({ cgroup }) => [cgroup.cpuMs(), cgroup.wakeUps()] as const);
    await delay(seconds * 1000);
    for (const [index, bed] of beds.entries()) {
      const [cpu, wakeUps] = before[index] ?? [0, 0];
      const used = bed.cgroup.cpuMs() - cpu;
      note(context, bed, [`idle for ${seconds} s: CPU`, "CPU ms"], used);
      note(
        context,
        bed,
        [`idle for ${seconds} s: wake-ups`, "times"],
        bed.cgroup.wakeUps() - wakeUps,
      );
    }
  });
}
