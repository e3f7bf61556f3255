import { type Bed, withBeds } from "../bed.js";
import { between, type Context, latest, note } from "./context.js";

/** NetworkManager keeps a link without carrier for 6 s. */
const LET_GO_MS = 15_000;
const USABLE_MS = 10_000;
/** Longer than the hold-down of any program that has not let go after it. */
const RULES_GONE_MS = 5000;

/**
 * Links that come and go under programs that run, one event at a time, the programs in turn. All
 * labs exist at once, so that the programs meet the same state of the machine.
 */
export async function hotplug(context: Context): Promise<void> {
  const uplinks = context.links?.[0] ?? 8;
  const samples = context.runs ?? (context.quick ? 4 : 21);
  const peers = context.peers.filter(({ followsLinks }) => followsLinks);
  await withBeds(peers, { uplinks, tools: context.tools }, async (beds) => {
    // One link stays, as on a host whose other uplink works.
    const movable = Math.min(samples, Math.max(1, uplinks - 1));
    const numbers = Array.from({ length: movable }, (_, index) => uplinks - 1 - index);
    for (let done = 0; done < samples; done += movable) await carrierRound(context, beds, numbers);
    for (let sample = 0; sample < samples; sample += 1) {
      for (const bed of beds) {
        await createdOnce(context, bed, uplinks - 1 - (sample % movable)).catch((error: unknown) =>
          context.figures.fail(`hot-plug of ${bed.peer.name}`, error),
        );
      }
    }
  });
}

/** Takes the carrier of several links away, until all programs let go of them, and gives it back. */
async function carrierRound(
  context: Context,
  beds: readonly Bed[],
  numbers: readonly number[],
): Promise<void> {
  const cpuBefore = beds.map(({ cgroup }) => cgroup.cpuMs());
  for (const bed of beds) for (const index of numbers) await bed.lab.unplug(index);
  await Promise.all(
    beds.map((bed) =>
      bed.kernel.until(LET_GO_MS, () =>
        numbers.every((index) => bed.kernel.addressesOf(nameOf(bed, index)).length === 0),
      ),
    ),
  );
  await Promise.all(beds.map((bed) => bed.settled()));
  for (const index of numbers) {
    for (const bed of beds) {
      await plugged(context, bed, index, "carrier back");
    }
  }
  for (const [index, bed] of beds.entries()) {
    const cpu = (bed.cgroup.cpuMs() - (cpuBefore[index] ?? 0)) / numbers.length;
    note(context, bed, ["CPU of a carrier lost and back", "CPU ms"], cpu);
  }
}

/** Plugs a link in, by whatever `insert` does, and notes when it was usable. */
async function plugged(
  context: Context,
  bed: Bed,
  index: number,
  what: "carrier back" | "link created",
): Promise<void> {
  const link = nameOf(bed, index);
  const { kernel, lab } = bed;
  if (what === "carrier back" && kernel.addressesOf(link).length > 0) {
    // It kept the address all the time: there is nothing to be quick at.
    await lab.plug(index);
    return note(context, bed, [`hot-plug, ${what}: to address`, "ms"], undefined);
  }
  const mark = kernel.mark();
  await (what === "carrier back" ? lab.plug(index) : insert(bed, index));
  await kernel.until(USABLE_MS, () => kernel.isReady(link));
  await bed.settled();
  const { upAt, createdAt, addressAt, defaultAt, rulesAt } = kernel.readiness(link, mark);
  note(context, bed, [`hot-plug, ${what}: to address`, "ms"], between(upAt, addressAt));
  const all = latest(addressAt, defaultAt, rulesAt);
  note(context, bed, [`hot-plug, ${what}: to all rules`, "ms"], between(upAt, all));
  if (what === "link created") {
    const measure = "hot-plug, link created: to address, from creation";
    note(context, bed, [measure, "ms"], between(createdAt, addressAt));
  }
}

/** Removes a link, until its last rule is gone, and creates it again. */
async function createdOnce(context: Context, bed: Bed, index: number): Promise<void> {
  const link = nameOf(bed, index);
  const { kernel, lab } = bed;
  const mark = kernel.mark();
  await lab.removeLink(index);
  const isGone = await kernel.until(RULES_GONE_MS, () => kernel.rulesOf(link) === 0);
  const removedAt = kernel.events
    .slice(mark)
    .find(({ kind, sign, words }) => kind === "link" && sign === "-" && words[0] === link)?.at;
  const gone = isGone === undefined ? undefined : kernel.lastRule("-", mark, link);
  note(context, bed, ["unplugged: until its last rule is gone", "ms"], between(removedAt, gone));
  await bed.settled();
  await plugged(context, bed, index, "link created");
}

/**
 * Creates the link as a modem that is plugged in has it: its own side is up and serves, before the
 * host's side appears, and that comes with its name.
 */
async function insert({ lab, links }: Bed, index: number): Promise<void> {
  const isp = lab.isps[index];
  const link = links[index];
  if (isp === undefined || link === undefined) throw new RangeError(`No uplink ${index}`);
  await isp.namespace.ipBatch([
    `link add lan type veth peer name inserted address ${isp.numbers.mac}`,
    ...isp.lanCommands(),
    `link set inserted netns ${lab.host.name} name ${link}`,
  ]);
  await lab.host.ip("link", "set", link, "up");
}

function nameOf(bed: Bed, index: number): string {
  return bed.links[index] ?? "";
}
