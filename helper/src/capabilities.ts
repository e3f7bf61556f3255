/** What this program needs and should be all that it holds, with the bits of capability.h. */
const NEEDED = new Map([
  [12, "CAP_NET_ADMIN"],
  [13, "CAP_NET_RAW"],
]);

/** Reads and judges the text of /proc/PID/status. A set that is not there counts as empty. */
export function parseCapabilities(status: string) {
  const bits = Array.from({ length: 64 }, (_, bit) => bit);
  const read = (set: string): readonly string[] => {
    const mask = BigInt(`0x${new RegExp(`^${set}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1] ?? 0}`);
    const held = bits.filter((bit) => (mask >> BigInt(bit)) & 1n);
    return held.map((bit) => NEEDED.get(bit) ?? `capability ${bit}`);
  };
  const names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
  const sets: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
    names.map((name) => [name, read(name)]),
  );
  const needed = [...NEEDED.values()];
  const held = [...new Set(Object.values(sets).flat())];
  return {
    /** By set, as /proc/PID/status calls it: names, or bits where it is none that we need. */
    sets,
    /** Needed, and not in effect. */
    missing: needed.filter((name) => !read("CapEff").includes(name)),
    /** Not needed, and in any of the sets. */
    excess: held.filter((name) => !needed.includes(name)),
  };
}
