/** What this program needs and all that it may hold, with the bits of linux/capability.h. */
const NEEDED = new Map([
  [12, "CAP_NET_ADMIN"],
  [13, "CAP_NET_RAW"],
]);

const SETS = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] as const;

/** Reads and judges the text of /proc/PID/status. A set that is not there counts as empty. */
export function judgeCapabilities(status: string, mayExceed: boolean) {
  const bits = Array.from({ length: 64 }, (_, bit) => bit);
  const namesIn = (set: string): readonly string[] => {
    const [, hex = "0"] = new RegExp(`^${set}:\\s*([0-9a-f]+)$`, "m").exec(status) ?? [];
    const held = bits.filter((bit) => (BigInt(`0x${hex}`) >> BigInt(bit)) & 1n);
    return held.map((bit) => NEEDED.get(bit) ?? `capability ${bit}`);
  };
  const sets = new Map(SETS.map((set) => [set, namesIn(set)]));
  const needed = [...NEEDED.values()];
  const isExcess = (name: string) => !needed.includes(name);
  const missing = needed.filter((name) => sets.get("CapEff")?.includes(name) !== true);
  const excess = [...new Set([...sets.values()].flat())].filter(isExcess);
  const excessive = SETS.filter((set) => sets.get(set)?.some(isExcess));
  const cure = "start it by systemd, or as root with --drop-to USER";
  const lacks = `The helper needs ${missing.join(" and ")}, but does not hold it; ${cure}`;
  const shown = excess.length > 3 ? `${excess.length} capabilities` : excess.join(" and ");
  const exceeds = `The helper holds ${shown} that it must not have (in ${excessive.join(", ")})`;
  const isTooMuch = excess.length > 0 && !mayExceed;
  const fault = isTooMuch ? `${exceeds}; ${cure}, or use --allow-excess-capabilities` : undefined;
  return {
    /** By set, as /proc/PID/status calls it: names, or bits where it is none that we need. */
    sets: Object.fromEntries(sets),
    /** Not needed, and in any of the sets. */
    excess,
    /** Why the helper must not serve with these, and what to do about it; undefined when it may. */
    fault: missing.length > 0 ? lacks : fault,
  };
}

/** For people: the names, and of what has none here the number. */
export function shortened(held: readonly string[]): string {
  const named = held.filter((name) => name.startsWith("CAP_"));
  const others = held.length - named.length;
  return [...named, ...(others > 0 ? [`and ${others} others`] : [])].join(" ") || "none";
}
