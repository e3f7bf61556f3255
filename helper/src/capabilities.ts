/** What this program needs and should be all that it holds, with the bits of capability.h. */
const NEEDED = new Map([
  [12, "CAP_NET_ADMIN"],
  [13, "CAP_NET_RAW"],
]);

export interface Capabilities {
  /** By set, as /proc/PID/status calls it: names, or bits where it is none that we need. */
  readonly sets: Readonly<Record<string, readonly string[]>>;
  /** Needed, and not in effect. */
  readonly missing: readonly string[];
  /** Not needed, and in any of the sets. */
  readonly excess: readonly string[];
}

/** Reads and judges the text of /proc/PID/status. A set that is not there counts as empty. */
export function parseCapabilities(status: string): Capabilities {
  const bits = Array.from({ length: 64 }, (_, bit) => bit);
  const read = (set: string): readonly string[] => {
    const mask = BigInt(`0x${new RegExp(`^${set}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1] ?? 0}`);
    const held = bits.filter((bit) => (mask >> BigInt(bit)) & 1n);
    return held.map((bit) => NEEDED.get(bit) ?? `capability ${bit}`);
  };
  const names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
  const sets = Object.fromEntries(names.map((name) => [name, read(name)]));
  const needed = [...NEEDED.values()];
  const held = [...new Set(Object.values(sets).flat())];
  return {
    sets,
    missing: needed.filter((name) => !read("CapEff").includes(name)),
    excess: held.filter((name) => !needed.includes(name)),
  };
}
