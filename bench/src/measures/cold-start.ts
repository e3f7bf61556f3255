import { Bed } from "../bed.js";
import type { Peer } from "../peer.js";
import { between, type Context, latest, note } from "./context.js";

/** How many uplinks are asked which ISP the far side sees. */
const VERIFIED = 8;

/** From exec, of both programs at once for MNM, until the kernel has made N uplinks usable. */
export async function coldStart(context: Context): Promise<void> {
  const counts = context.links ?? (context.quick ? [1, 8] : [1, 8, 32, 128]);
  for (const uplinks of counts) {
    const runs = context.runs ?? (context.quick ? 2 : uplinks > 8 ? 3 : 5);
    for (let run = 0; run < runs; run += 1) {
      for (const peer of context.peers.filter(({ maxLinks }) => maxLinks >= uplinks)) {
        await once(context, peer, { uplinks, isLast: run === runs - 1 }).catch((error: unknown) =>
          context.figures.fail(`cold start of ${peer.name} with ${uplinks}`, error),
        );
      }
    }
  }
}

async function once(
  context: Context,
  peer: Peer,
  { uplinks, isLast }: { readonly uplinks: number; readonly isLast: boolean },
): Promise<void> {
  const bed = await Bed.build(peer, uplinks, context.tools);
  try {
    const mark = bed.kernel.mark();
    await bed.start(true);
    await bed.allReady();
    const from = bed.startedAt();
    const steps = bed.links.map((link) => bed.kernel.readiness(link, mark));
    const defaults = steps.map(({ defaultAt }) => defaultAt);
    const addresses = steps.map(({ addressAt }) => addressAt);
    const rules = bed.kernel.lastRule("+", mark);
    note(
      context,
      bed,
      ["cold start: first default route", "ms"],
      between(from, earliest(defaults)),
    );
    const routed = latest(...addresses, ...defaults);
    note(context, bed, ["cold start: addresses, default routes", "ms"], between(from, routed));
    note(context, bed, ["cold start: and all rules", "ms"], between(from, latest(routed, rules)));
    note(context, bed, ["cold start: CPU", "CPU ms"], bed.cgroup.cpuMs());
    if (isLast) await verify(context, bed);
  } finally {
    await bed.close();
  }
}

function earliest(instants: readonly (number | undefined)[]): number | undefined {
  return instants.filter((instant) => instant !== undefined).toSorted((a, b) => a - b)[0];
}

/** Whether a socket bound to an uplink's address really leaves by that uplink. */
async function verify(context: Context, bed: Bed): Promise<void> {
  let right = 0;
  for (const { index, address } of bed.lab.isps.slice(0, VERIFIED)) {
    if ((await bed.lab.whoami({ address })) === index) right += 1;
  }
  const asked = Math.min(VERIFIED, bed.links.length);
  note(context, bed, ["right uplink by source address", "of 8"], (right / asked) * VERIFIED);
}
