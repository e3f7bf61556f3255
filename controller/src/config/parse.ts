import { err, formatIpv4, ok, type Result } from "@mnm/proto/net";
import { type Config, DEFAULT_CONFIG, type LinkEntry } from "./config.js";
import { type MapEntry, readDocument, type YamlNode } from "./document.js";
import { boolean, type Fields, fieldOf, oneOf, readFields } from "./fields.js";
import { type ReadLink, readLinkEntry } from "./link-entry.js";
import { isMultiFile, readMultiFile } from "./multi.js";
import { type ConfigProblem, Report, shorten } from "./problem.js";

const KEYS = ["links", "default", "unique", "on_stop", "legacy_broadcast"] as const;

/**
 * Reads a configuration: MNM's own format, or MULTI's file as it stands. Every problem is
 * reported at once, in the order of the file (but at most 50). Does not throw, whatever the
 * text is. `file` is only the name that the problems carry.
 */
export function parseConfig(text: string, file: string): Result<Config, readonly ConfigProblem[]> {
  const report = new Report({ text, file });
  const root = readDocument(text, report);
  const config = root === undefined ? DEFAULT_CONFIG : readRoot(root, report);
  return report.isEmpty ? ok(config) : err(report.problems());
}

function readRoot(root: YamlNode, report: Report): Config {
  if (isMultiFile(root)) {
    const links = readMultiFile(root.entries, report);
    return { ...DEFAULT_CONFIG, links: checkedTogether(links, false, report) };
  }
  const fields = readFields(root, KEYS, report);
  if (fields === undefined) return DEFAULT_CONFIG;
  const unique = fieldOf(fields, "unique", boolean, report) ?? DEFAULT_CONFIG.unique;
  return {
    links: checkedTogether(readLinks(fields, report), unique, report),
    defaultMode:
      fieldOf(fields, "default", oneOf(["manage", "ignore"]), report) ?? DEFAULT_CONFIG.defaultMode,
    unique,
    onStop:
      fieldOf(fields, "on_stop", oneOf(["keep", "flush", "release"]), report) ??
      DEFAULT_CONFIG.onStop,
    legacyBroadcast:
      fieldOf(fields, "legacy_broadcast", boolean, report) ?? DEFAULT_CONFIG.legacyBroadcast,
  };
}

function readLinks(fields: Fields, report: Report): readonly ReadLink[] {
  const links = fields.get("links");
  if (links === undefined || (links.value.kind === "scalar" && links.value.value === "")) return [];
  if (links.value.kind !== "map") {
    const text = "links has to be a mapping from a link's name to its settings";
    report.add(links.keyAt, "links", `${text}, such as eth0: { metric: 10 }`);
    return [];
  }
  return links.value.entries.flatMap((source) => {
    const entry = readLinkEntry(source, report);
    return entry === undefined ? [] : [{ entry, source }];
  });
}

/** The entries, after reporting what each of them may have, but not two. */
function checkedTogether(
  links: readonly ReadLink[],
  unique: boolean,
  report: Report,
): readonly LinkEntry[] {
  refuseShared(links, report, {
    keyOf: ({ metric }) => metric?.toString(),
    textOf: (value, first) => `metric ${value} already belongs to ${first}; choose another`,
    field: "metric",
  });
  refuseShared(links, report, {
    keyOf: ({ match }) =>
      match.kind === "mac" ? match.mac : match.kind === "path" ? match.path : undefined,
    textOf: (value, first) => `${first} matches ${value} already; one entry has to go`,
    field: "match",
  });
  if (unique) {
    refuseShared(links, report, {
      keyOf: ({ method }) => (method.kind === "static" ? formatIpv4(method.address) : undefined),
      textOf: (value, first) => `unique is true, and ${value} already belongs to ${first}`,
      field: "address",
    });
  }
  return links.map(({ entry }) => entry);
}

function refuseShared(
  links: readonly ReadLink[],
  report: Report,
  rule: {
    readonly keyOf: (entry: LinkEntry) => string | undefined;
    readonly textOf: (value: string, first: string) => string;
    readonly field: string;
  },
): void {
  const firstWith = new Map<string, MapEntry>();
  for (const { entry, source } of links) {
    const value = rule.keyOf(entry);
    if (value === undefined) continue;
    const first = firstWith.get(value);
    if (first === undefined) {
      firstWith.set(value, source);
      continue;
    }
    const name = `${shorten(first.key)} (line ${report.lineOf(first.keyAt)})`;
    const text = `${shorten(source.key)}: ${rule.textOf(value, name)}`;
    report.add(placeOf(source, rule.field), value, text);
  }
}

function placeOf(source: MapEntry, field: string): number {
  const entries = source.value.kind === "map" ? source.value.entries : [];
  return entries.find(({ key }) => key === field)?.value.at ?? source.keyAt;
}
