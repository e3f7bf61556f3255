import type { LinkName, MacAddress } from "@mnm/proto/net";
import type { Config, LinkEntry, LinkMatch } from "./config.js";

/** What of a link an entry can be about. */
export interface LinkIdentity {
  readonly name: LinkName;
  /** IFLA_PARENT_DEV_NAME. */
  readonly parentDevice: string | undefined;
  readonly permanentMac: MacAddress | undefined;
  /** Stands in for the permanent one where the driver has none (veth, most modems). */
  readonly mac: MacAddress | undefined;
}

/** A name beats path and MAC, and these beat any pattern, which has at most 32 literals. */
const NAME_WEIGHT = 1000;
const IDENTITY_WEIGHT = 999;

/**
 * The entry that a link follows. A name beats `match` beats a pattern; among patterns the one
 * with the most literal characters wins, then the first.
 */
export function entryFor(config: Config, link: LinkIdentity): LinkEntry | undefined {
  let best: LinkEntry | undefined;
  let bestWeight = -1;
  for (const entry of config.links) {
    const weight = weightOf(entry.match, link);
    if (weight > bestWeight) {
      best = entry;
      bestWeight = weight;
    }
  }
  return best;
}

/** How well they fit; -1 when they do not. */
function weightOf(match: LinkMatch, link: LinkIdentity): number {
  switch (match.kind) {
    case "name":
      return match.name === link.name ? NAME_WEIGHT : -1;
    case "path":
      return isAtPath(match.path, link.parentDevice) ? IDENTITY_WEIGHT : -1;
    case "mac":
      return match.mac === (link.permanentMac ?? link.mac) ? IDENTITY_WEIGHT : -1;
    case "pattern":
      if (!matchesPattern(match.pattern, link.name)) return -1;
      return match.pattern.replaceAll(/[*?]/g, "").length;
  }
}

/**
 * USB buses are numbered as they are found, so that `usb-0:1.3` (as udev's ID_PATH has it) means
 * that port of any bus. The kernel's name of an interface there is `BUS-1.3:CONFIG.INTERFACE`.
 */
function isAtPath(path: string, parentDevice: string | undefined): boolean {
  if (parentDevice === undefined) return false;
  if (path === parentDevice) return true;
  const [, ports] = /^usb-0:(.+)$/.exec(path) ?? [];
  const [, device, port] = /^\d+-(([\d.]+)(?::[\d.]+)?)$/.exec(parentDevice) ?? [];
  return ports !== undefined && (ports === device || ports === port);
}

/** Remembers the last `*` only, so that no pattern takes more than pattern times name steps. */
function matchesPattern(pattern: string, name: string): boolean {
  let inPattern = 0;
  let inName = 0;
  let star = -1;
  let afterStar = 0;
  while (inName < name.length) {
    if (pattern[inPattern] === "*") {
      star = inPattern++;
      afterStar = inName;
    } else if (pattern[inPattern] === "?" || pattern[inPattern] === name[inName]) {
      inPattern++;
      inName++;
    } else if (star >= 0) {
      // The star takes one character more than it did the last time.
      inPattern = star + 1;
      inName = ++afterStar;
    } else {
      return false;
    }
  }
  return /^\**$/.test(pattern.slice(inPattern));
}
