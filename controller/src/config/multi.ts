import type { LinkEntry, LinkMethod } from "./config.js";
import { PLAIN_DHCP } from "./config.js";
import type { MapEntry, YamlNode } from "./document.js";
import {
  type Fields,
  fieldOf,
  hostIpv4,
  netmask,
  numberUpTo,
  oneOf,
  readFields,
} from "./fields.js";
import { type ReadLink, readLinkName } from "./link-entry.js";
import { type Report, shorten } from "./problem.js";
import { staticMethodOf } from "./static-address.js";

const KEYS = ["proto", "address", "netmask", "gateway", "metric"] as const;
const ADDRESS_KEYS = ["address", "netmask", "gateway"] as const;

/** MULTI has 32 tables, and the metric is the table. */
const MAX_METRIC = 32;

/**
 * Whether this is the file of MULTI (kristrev/multi), MNM's predecessor: no `links`, but link
 * names with a `proto`. One such entry is enough to read it that way: an entry without `proto`
 * is refused there with a better sentence than MNM's own format has for it.
 */
export function isMultiFile(root: YamlNode): root is Extract<YamlNode, { readonly kind: "map" }> {
  if (root.kind !== "map" || root.entries.some(({ key }) => key === "links")) return false;
  return root.entries.some(
    ({ value }) => value.kind === "map" && value.entries.some(({ key }) => key === "proto"),
  );
}

/** The links of MULTI's file. */
export function readMultiFile(entries: readonly MapEntry[], report: Report): readonly ReadLink[] {
  return entries.flatMap((source) => {
    const entry = readMultiLink(source, report);
    return entry === undefined ? [] : [{ entry, source }];
  });
}

function readMultiLink(source: MapEntry, report: Report): LinkEntry | undefined {
  const name = readLinkName(source, report);
  const fields = readFields(source.value, KEYS, report);
  if (fields === undefined) return undefined;
  if (!fields.has("proto")) {
    const text = `${shorten(source.key)} has no proto; MULTI's file needs static, other or ignore`;
    report.add(source.keyAt, source.key, text);
  }
  const proto = fieldOf(fields, "proto", oneOf(["static", "other", "ignore"]), report);
  const metric = fieldOf(fields, "metric", numberUpTo(MAX_METRIC), report);
  if (name === undefined || proto === undefined) return undefined;
  const method = proto === "static" ? readStatic(source, fields, report) : PLAIN_DHCP;
  if (proto !== "static") refuseAddress(proto, fields, report);
  if (method === undefined) return undefined;
  return {
    label: source.key,
    match: { kind: "name", name },
    mode: proto === "ignore" ? "ignore" : "manage",
    method,
    // `other` was DHCP, or on PPP links what pppd had set.
    methodWritten: proto === "static",
    metric,
  };
}

function readStatic(source: MapEntry, fields: Fields, report: Report): LinkMethod | undefined {
  // MULTI took a static link without address and then did nothing with it.
  if (!fields.has("address") || !fields.has("netmask")) {
    const text = `${shorten(source.key)} is static and needs both address and netmask`;
    report.add(source.keyAt, source.key, text);
  }
  const address = fieldOf(fields, "address", hostIpv4, report);
  const prefixLength = fieldOf(fields, "netmask", netmask, report);
  if (address === undefined || prefixLength === undefined) return undefined;
  return staticMethodOf({ address, prefixLength }, fields, report);
}

function refuseAddress(proto: string, fields: Fields, report: Report): void {
  for (const key of ADDRESS_KEYS) {
    const entry = fields.get(key);
    if (entry === undefined) continue;
    report.add(entry.keyAt, "", `proto ${proto} takes no ${key}; it belongs to proto static`);
  }
}
