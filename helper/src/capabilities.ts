/** What this program needs and all that it may hold, with the bits of linux/capability.h. */
const NEEDED = new Map([
  [12, "CAP_NET_ADMIN"],
  [13, "CAP_NET_RAW"],
]);

const SETS = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] as const;

/** Reads and judges the text of /proc/PID/status. A set that is not there counts as empty. */
export function parseCapabilities(status: string) {
  const bits = Array.from({ length: 64 }, (_, bit) => bit);
  const read = (set: string): readonly string[] => {
    const mask = BigInt(`0x${statusField(status, set) ?? 0}`);
    const held = bits.filter((bit) => (mask >> BigInt(bit)) & 1n);
    return held.map((bit) => NEEDED.get(bit) ?? `capability ${bit}`);
  };
  const sets = Object.fromEntries(SETS.map((name) => [name, read(name)]));
  const needed = [...NEEDED.values()];
  const isExcess = (name: string) => !needed.includes(name);
  return {
    /** By set, as /proc/PID/status calls it: names, or bits where it is none that we need. */
    sets,
    /** Needed, and not in effect. */
    missing: needed.filter((name) => !read("CapEff").includes(name)),
    /** Not needed, and in any of the sets. */
    excess: [...new Set(Object.values(sets).flat())].filter(isExcess),
    /** The sets that hold what is not needed. */
    excessive: SETS.filter((name) => read(name).some(isExcess)),
  };
}

/** Why the helper must not serve with these, and what to do about it; undefined when it may. */
export function capabilityFault(
  { missing, excess, excessive }: ReturnType<typeof parseCapabilities>,
  mayExceed: boolean,
): string | undefined {
  const cure = "start it by systemd, or as root with --drop-to USER";
  if (missing.length > 0) {
    return `The helper needs ${missing.join(" and ")}, but does not hold it; ${cure}`;
  }
  if (excess.length === 0 || mayExceed) return undefined;
  const shown = excess.length > 3 ? `${excess.length} capabilities` : excess.join(" and ");
  const what = `The helper holds ${shown} that it must not have (in ${excessive.join(", ")})`;
  return `${what}; ${cure}, or use --allow-excess-capabilities`;
}

/** A line of /proc/PID/status, without its name. */
export function statusField(status: string, name: string): string | undefined {
  return new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(status)?.[1];
}
