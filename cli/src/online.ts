import { type Link, LinkState } from "@mnm/proto/network-manager";

/** What has to be usable for the host to count as online. */
export interface OnlineCondition {
  /** These links; empty for those that MNM manages. */
  readonly names: readonly string[];
  readonly how: "any" | "all";
}

/**
 * Whether the host is online. All without names are all managed links that have carrier: a socket
 * without a cable would keep a host from ever being online.
 */
export function isOnline(links: readonly Link[], { names, how }: OnlineCondition): boolean {
  const isUsable = (link: Link) => link.state === LinkState.USABLE;
  const named = links.filter(({ name }) => names.includes(name));
  if (names.length > 0 && how === "all") {
    return names.every((name) => named.some((link) => link.name === name && isUsable(link)));
  }
  if (how === "any") return (names.length > 0 ? named : links).some(isUsable);
  const expected = links.filter(({ state }) => !BESIDE_THE_POINT.has(state));
  return expected.length > 0 && expected.every(isUsable);
}

const BESIDE_THE_POINT: ReadonlySet<LinkState> = new Set([
  LinkState.IGNORED,
  LinkState.NO_CARRIER,
  LinkState.RELEASED,
]);
