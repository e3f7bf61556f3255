import { type Ipv4, type Ipv4Prefix, lastOf, networkOf } from "@mnm/proto/net";
import type { Uplink } from "../uplink/index.js";

/**
 * Which uplink the rules by address belong to, for each address: of those that have it, the one of
 * lowest metric with carrier, else of lowest metric. The others keep their device rule and table.
 */
export function ownersOfAddresses(uplinks: readonly Uplink[]): ReadonlyMap<Ipv4, Uplink> {
  const owners = new Map<Ipv4, Uplink>();
  for (const uplink of uplinks) {
    const { address } = uplink.addressing;
    const rival = owners.get(address);
    if (rival === undefined || precedes(uplink, rival)) owners.set(address, uplink);
  }
  return owners;
}

function precedes(a: Uplink, b: Uplink): boolean {
  const aActive = a.carrier && !a.dormant;
  const bActive = b.carrier && !b.dormant;
  return aActive === bActive ? a.metric < b.metric : aActive;
}

/** What an uplink has in common with another one: its very address, or part of its prefix. */
export type Collision = "address" | "prefix";

/** The uplinks that have anything in common with another one. */
export function collisionsOf(uplinks: readonly Uplink[]): ReadonlyMap<Uplink, Collision> {
  const collisions = new Map<Uplink, Collision>();
  for (const uplink of overlappingUplinks(uplinks)) collisions.set(uplink, "prefix");
  for (const uplink of sharingUplinks(uplinks)) collisions.set(uplink, "address");
  return collisions;
}

function overlappingUplinks(uplinks: readonly Uplink[]): ReadonlySet<Uplink> {
  // Prefixes nest or are disjoint, so in order of their first address one open span is enough.
  const spans = uplinks
    .map((uplink) => ({ uplink, prefix: prefixOf(uplink) }))
    .toSorted((a, b) => a.prefix.network - b.prefix.network || a.prefix.length - b.prefix.length);
  const overlapping = new Set<Uplink>();
  let open: { readonly uplink: Uplink; readonly last: Ipv4 } | undefined;
  for (const { uplink, prefix } of spans) {
    if (open !== undefined && prefix.network <= open.last) {
      overlapping.add(open.uplink);
      overlapping.add(uplink);
    } else {
      open = { uplink, last: lastOf(prefix) };
    }
  }
  return overlapping;
}

/** The uplinks whose address another uplink has too. */
export function sharingUplinks(uplinks: readonly Uplink[]): ReadonlySet<Uplink> {
  const byAddress = new Map<Ipv4, Uplink[]>();
  for (const uplink of uplinks) {
    const { address } = uplink.addressing;
    byAddress.set(address, [...(byAddress.get(address) ?? []), uplink]);
  }
  return new Set([...byAddress.values()].filter(({ length }) => length > 1).flat());
}

function prefixOf({ addressing: { address, length } }: Uplink): Ipv4Prefix {
  return networkOf(address, length);
}
