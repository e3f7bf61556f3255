import { type IdentityRecord, MAX_SLOT } from "./state.js";

/** Tables are 7700 + slot: 7701 to 9699. */
export const TABLE_BASE = 7700;

export function isUplinkTable(table: number): boolean {
  return table > TABLE_BASE && table <= TABLE_BASE + MAX_SLOT;
}

/**
 * A slot for a new identity: the lowest free one, else that of the identity longest absent.
 * `evicted` is the identity that lost it. Undefined when all 1,999 are in use by links that are here.
 */
export function freeSlot(
  identities: ReadonlyMap<string, IdentityRecord>,
  isPresent: (identity: string) => boolean,
): { readonly slot: number; readonly evicted: string | undefined } | undefined {
  const taken = new Set([...identities.values()].map(({ slot }) => slot));
  for (let slot = 1; slot <= MAX_SLOT; slot += 1) {
    if (!taken.has(slot)) return { slot, evicted: undefined };
  }
  const absent = [...identities].filter(([identity]) => !isPresent(identity));
  const [longest] = absent.toSorted(([, a], [, b]) => a.usedAt - b.usedAt);
  return longest === undefined ? undefined : { slot: longest[1].slot, evicted: longest[0] };
}
