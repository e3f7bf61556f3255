import { type Config, entryFor, type LinkEntry, PLAIN_DHCP } from "../config/index.js";
import { type Link, linkKindOf } from "../link/index.js";

/** What the configuration, or the default filter, wants of a link. */
export type Intent =
  | { readonly kind: "ignored" }
  | {
      readonly kind: "managed";
      readonly method: LinkEntry["method"];
      /** The entry that says so; undefined when the default filter does. */
      readonly entry: LinkEntry | undefined;
    };

const IGNORED: Intent = { kind: "ignored" };

/**
 * Decides whether a link is managed, and how it gets its address.
 *
 * An entry manages its link whatever its kind. Without one, hardware that can be an uplink is
 * managed: Ethernet, WLAN and WWAN by DHCP, PPP by adopting pppd's address. Virtual links belong to
 * whoever made them, and ports of a bridge or bond to their master, entry or not.
 */
export function intentOf(link: Link, config: Config): Intent {
  // What a port of a bridge or bond receives goes to its master: an address on it reaches nobody.
  if (link.loopback || link.master !== undefined) return IGNORED;
  const entry = entryFor(config, link);
  const kind = linkKindOf(link);
  if (entry !== undefined) {
    if (entry.mode !== "manage") return IGNORED;
    const method =
      kind === "ppp" && !entry.methodWritten ? ({ kind: "adopt" } as const) : entry.method;
    return { kind: "managed", method, entry };
  }
  if (config.defaultMode === "ignore") return IGNORED;
  switch (kind) {
    case "wired":
    case "wlan":
    case "wwan":
      return { kind: "managed", method: PLAIN_DHCP, entry: undefined };
    case "ppp":
      return { kind: "managed", method: { kind: "adopt" }, entry: undefined };
    default:
      return IGNORED;
  }
}

/**
 * The name under which a link's table, metric and lease are kept.
 *
 * Its configured match, else its bus path, else its name. Not the MAC unless configured: identical
 * modems share one. `isTaken` says whether another link that is present has that identity, as two
 * ports of one PCI function would; then the link's name tells them apart.
 */
export function identityOf(
  link: Link,
  entry: LinkEntry | undefined,
  isTaken: (identity: string) => boolean,
): string {
  const identity = baseIdentityOf(link, entry);
  return isTaken(identity) ? `${identity}/${link.name}` : identity;
}

function baseIdentityOf(link: Link, entry: LinkEntry | undefined): string {
  const match = entry?.match;
  if (match?.kind === "path") return `path:${match.path}`;
  if (match?.kind === "mac") return `mac:${match.mac}`;
  return link.parentDevice === undefined ? `name:${link.name}` : `bus:${link.parentDevice}`;
}
