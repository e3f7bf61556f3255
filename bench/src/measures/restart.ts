import { setTimeout as delay } from "node:timers/promises";
import { Bed, withBeds } from "../bed.js";
import type { Peer } from "../peer.js";
import { between, type Context, note } from "./context.js";

/** Longer than a program may wait before it removes what it no longer needs. */
const STALE_RULES_MS = 13_000;
const ALONE_MS = 2000;

/** Whether traffic through an uplink notices that the program was killed, or restarted in order. */
export async function restart(context: Context): Promise<void> {
  const uplinks = context.links?.[0] ?? 8;
  const runs = context.runs ?? (context.quick ? 1 : 2);
  for (let run = 0; run < runs; run += 1) {
    for (const peer of context.peers.filter(({ maxLinks }) => maxLinks >= uplinks)) {
      await restartOnce(context, peer, uplinks).catch((error: unknown) =>
        context.figures.fail(`restart of ${peer.name}`, error),
      );
    }
  }
}

async function restartOnce(context: Context, peer: Peer, uplinks: number): Promise<void> {
  const bed = await Bed.ready(peer, uplinks, context.tools);
  try {
    await interrupt(context, bed, { how: "kill -9", stop: () => bed.cgroup.kill() });
    const stop = () => bed.cgroup.stop(peer.restartSignal ?? "SIGTERM");
    await interrupt(context, bed, { how: "its unit's signal", stop });
  } finally {
    await bed.close();
  }
}

/** Stops the program under a stream of pings through its first uplink, and starts it again. */
async function interrupt(
  context: Context,
  bed: Bed,
  { how, stop }: { readonly how: string; readonly stop: () => Promise<void> },
): Promise<void> {
  const mark = bed.kernel.mark();
  const pings = await bed.lab.startPing({ address: bed.lab.isps[0]?.address ?? "" }, 10);
  await stop();
  await delay(500);
  await bed.start(false);
  await bed.allReady();
  await delay(context.quick ? 500 : 2000);
  const { lost, longestGapMs } = await pings.stop();
  note(context, bed, [`restart by ${how}: lost pings`, "pings"], lost);
  note(context, bed, [`restart by ${how}: longest gap`, "ms"], longestGapMs);
  const deleted = bed.kernel.events.slice(mark).filter(({ sign }) => sign === "-").length;
  note(context, bed, [`restart by ${how}: objects deleted`, "times"], deleted);
}

/** A link that is unplugged while the program is dead: from exec until its last rule is gone. */
export async function unpluggedWhileDead(context: Context): Promise<void> {
  const uplinks = context.links?.[0] ?? 8;
  const runs = context.runs ?? (context.quick ? 1 : 2);
  for (let run = 0; run < runs; run += 1) {
    await withBeds(context.peers, { uplinks, tools: context.tools }, async (beds) => {
      const endings: Promise<void>[] = [];
      for (const bed of beds) {
        await bed.cgroup.kill();
        await bed.lab.removeLink(1);
        const mark = bed.kernel.mark();
        await bed.start(false);
        // The next one starts when this one is done, or idles.
        await bed.kernel.until(ALONE_MS, () => isForgotten(bed));
        endings.push(noteForgotten(context, bed, mark));
      }
      await Promise.all(endings);
    });
  }
}

async function noteForgotten(context: Context, bed: Bed, mark: number): Promise<void> {
  const isGone = await bed.kernel.until(STALE_RULES_MS - ALONE_MS, () => isForgotten(bed));
  const at = isGone === undefined ? undefined : bed.kernel.lastRule("-", mark, bed.links[1]);
  const measure = "unplugged while dead: exec until its last rule is gone";
  note(context, bed, [measure, "ms"], between(bed.startedAt(), at));
}

function isForgotten({ kernel, links }: Bed): boolean {
  return kernel.rulesOf(links[1] ?? "") === 0;
}
