import type { LinkSettings } from "../link/index.js";
import type { Collision } from "./collisions.js";

/** Reverse-path filter modes, ip-sysctl. */
const STRICT = 1;
const LOOSE = 2;

/**
 * The settings that a managed link needs; one that is not named is not MNM's business.
 *
 * @param collision of its uplink with others
 * @param rpFilterAll net.ipv4.conf.all.rp_filter: the kernel filters by the maximum of it and the
 *   link's own, so a strict one cannot be undone but by a link's own 2.
 */
export function planSettings(
  collision: Collision | undefined,
  current: LinkSettings,
  rpFilterAll: number,
): Partial<LinkSettings> {
  const isShared = collision === "address";
  return {
    // The kernel then fails over by itself when carrier is lost.
    ignoreRoutesWithLinkdown: 1,
    // Else deleting our address deletes an operator's second one in the same prefix too.
    promoteSecondaries: 1,
    // Two links in one subnet: each answers for its own address only.
    ...(collision === undefined ? {} : { arpIgnore: 1, arpAnnounce: 2 }),
    ...(isShared && needsLoose(current.rpFilter, rpFilterAll) ? { rpFilter: LOOSE } : {}),
  };
}

function needsLoose(own: number, all: number): boolean {
  // Once it is our 2 it must stay wanted, or it would be put back and wanted again.
  return Math.max(own === LOOSE ? STRICT : own, all) === STRICT;
}
