import { type LinkName, parseLinkName } from "@mnm/proto/net";
import type { LinkEntry, LinkMatch, LinkMethod } from "./config.js";
import type { MapEntry } from "./document.js";
import {
  boolean,
  busPath,
  clientId,
  type Fields,
  fieldOf,
  hostAddress,
  hostName,
  macAddress,
  numberUpTo,
  oneOf,
  readFields,
  vendorClass,
} from "./fields.js";
import { type Report, shorten } from "./problem.js";
import { staticMethodOf } from "./static-address.js";

const STATIC_KEYS = ["address", "gateway"] as const;
const DHCP_KEYS = [
  "hostname",
  "client_id",
  "vendor_class",
  "rapid_commit",
  "conflict_detection",
] as const;
const CONFLICT_DETECTIONS = ["optimistic", "strict", "off"] as const;
const KEYS = ["mode", "method", "metric", "match", ...STATIC_KEYS, ...DHCP_KEYS] as const;

/** An entry and where it stands, for problems that show only beside other entries. */
export interface ReadLink {
  readonly entry: LinkEntry;
  readonly source: MapEntry;
}

/** One entry under `links`; undefined when it has problems, which are then in the report. */
export function readLinkEntry(entry: MapEntry, report: Report): LinkEntry | undefined {
  const fields = readFields(entry.value, KEYS, report);
  if (fields === undefined) return undefined;
  const match = readMatch(entry, fields, report);
  const mode = readMode(fields, report);
  const method = readMethod(entry, fields, report);
  const metric = fieldOf(fields, "metric", numberUpTo(9999), report);
  const metricEntry = fields.get("metric");
  if (match?.kind === "pattern" && metricEntry !== undefined) {
    const text = `${shorten(entry.key)} may be several links, which cannot share one metric; give each its own entry, or leave the metric out`;
    report.add(metricEntry.keyAt, "", text);
  }
  if (match === undefined || mode === undefined || method === undefined) return undefined;
  return { label: entry.key, match, mode, method, methodWritten: fields.has("method"), metric };
}

/** A key that the kernel allows as a link's name; undefined when it is not, which is reported. */
export function readLinkName({ key, keyAt }: MapEntry, report: Report): LinkName | undefined {
  const name = parseLinkName(key);
  if (name.ok) return name.value;
  const text = `${shorten(key)} is not a link's name: 1 to 15 ASCII characters without space, / and :`;
  report.add(keyAt, key, text);
  return undefined;
}

function readMatch(entry: MapEntry, fields: Fields, report: Report): LinkMatch | undefined {
  const matchEntry = fields.get("match");
  if (matchEntry !== undefined) return readMatchKey(matchEntry, report);
  if (/[*?]/.test(entry.key)) return readPattern(entry, report);
  const name = readLinkName(entry, report);
  return name === undefined ? undefined : { kind: "name", name };
}

function readPattern({ key, keyAt }: MapEntry, report: Report): LinkMatch | undefined {
  const literals = key.replaceAll("*", "");
  if (key.length <= 32 && (literals === "" || parseLinkName(literals).ok)) {
    return { kind: "pattern", pattern: key };
  }
  const text = `No link's name is like ${shorten(key)}: they have 1 to 15 ASCII characters without space, / and :`;
  report.add(keyAt, key, text);
  return undefined;
}

function readMatchKey(entry: MapEntry, report: Report): LinkMatch | undefined {
  const fields = readFields(entry.value, ["path", "mac"], report);
  if (fields === undefined) return undefined;
  if (fields.size !== 1) {
    const text = "match has one key: path (the bus path) or mac (the permanent MAC)";
    report.add(entry.keyAt, "", text);
    return undefined;
  }
  const path = fieldOf(fields, "path", busPath, report);
  if (path !== undefined) return { kind: "path", path };
  const mac = fieldOf(fields, "mac", macAddress, report);
  return mac === undefined ? undefined : { kind: "mac", mac };
}

function readMode(fields: Fields, report: Report): LinkEntry["mode"] | undefined {
  const entry = fields.get("mode");
  if (entry === undefined) return "manage";
  const mode = oneOf(["manage", "observe", "ignore"])(entry, report);
  if (mode !== "observe") return mode;
  const text = "mode observe is not available in this version; use manage or ignore";
  report.add(entry.value.at, mode, text);
  return undefined;
}

function readMethod(entry: MapEntry, fields: Fields, report: Report): LinkMethod | undefined {
  const methodEntry = fields.get("method");
  const method =
    methodEntry === undefined ? "dhcp" : oneOf(["dhcp", "static", "adopt"])(methodEntry, report);
  switch (method) {
    case undefined:
      return undefined;
    case "adopt":
      refuseKeys([...STATIC_KEYS, ...DHCP_KEYS], "method adopt", fields, report);
      return { kind: "adopt" };
    case "dhcp":
      refuseKeys(STATIC_KEYS, "method dhcp", fields, report);
      return readDhcp(fields, report);
    case "static":
      refuseKeys(DHCP_KEYS, "method static", fields, report);
      return readStatic(entry, fields, report);
  }
}

function readStatic(entry: MapEntry, fields: Fields, report: Report): LinkMethod | undefined {
  const host = fieldOf(fields, "address", hostAddress, report);
  if (host !== undefined) return staticMethodOf(host, fields, report);
  if (!fields.has("address")) {
    const text = `${shorten(entry.key)} is static but has no address; add one, such as address: 192.0.2.7/24`;
    report.add(entry.keyAt, entry.key, text);
  }
  return undefined;
}

function readDhcp(fields: Fields, report: Report): LinkMethod {
  return {
    kind: "dhcp",
    hostName: fieldOf(fields, "hostname", hostName, report),
    clientId: fieldOf(fields, "client_id", clientId, report),
    vendorClass: fieldOf(fields, "vendor_class", vendorClass, report),
    rapidCommit: fieldOf(fields, "rapid_commit", boolean, report) ?? false,
    conflictDetection:
      fieldOf(fields, "conflict_detection", oneOf(CONFLICT_DETECTIONS), report) ?? "optimistic",
  };
}

function refuseKeys(keys: readonly string[], owner: string, fields: Fields, report: Report): void {
  for (const key of keys) {
    const entry = fields.get(key);
    if (entry === undefined) continue;
    const isStatic = STATIC_KEYS.some((name) => name === key);
    const right = `${key} belongs to method ${isStatic ? "static" : "dhcp"}`;
    report.add(entry.keyAt, "", `${owner} takes no ${key}; ${right}`);
  }
}
