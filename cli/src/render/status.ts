import { HelperStatus_State, type Link, LinkState, type Status } from "@mnm/proto/network-manager";
import { formatMs, formatSeconds } from "./duration.js";
import { faultSentence } from "./fault.js";
import { type Column, type Line, lineWidthOf, type Span, type Style, tableOf } from "./page.js";
import { linkKindWord, linkStateWord, spoken } from "./words.js";

const COLUMNS: readonly Column[] = [
  // The mark of the default: a place of its own even while there is none.
  { title: " ", align: "left" },
  { title: "LINK", align: "left" },
  { title: "KIND", align: "left" },
  { title: "STATE", align: "left" },
  { title: "METRIC", align: "right" },
  { title: "TABLE", align: "right" },
  { title: "ADDRESS", align: "left" },
  { title: "GATEWAY", align: "left" },
  { title: "LEASE", align: "left" },
  { title: "SINCE", align: "left" },
];

const STATE_STYLES: ReadonlyMap<LinkState, Style> = new Map([
  [LinkState.USABLE, "good"],
  [LinkState.CONFIGURING, "warn"],
  [LinkState.HOLDING, "warn"],
  [LinkState.FAULTY, "bad"],
  [LinkState.RELEASED, "warn"],
  [LinkState.NO_CARRIER, "dim"],
  [LinkState.IGNORED, "dim"],
]);

/** What `mnmctl status` shows: a summary, the table of links, then what is not as expected. */
export function statusPage(status: Status): readonly Line[] {
  const table = tableOf(COLUMNS, status.links.map(rowOf));
  const warnings = warningsOf(status);
  const width = Math.max(...table.map(lineWidthOf));
  return [
    spread(summaryOf(status, warnings.length), hostOf(status), width),
    ...table,
    ...warnings.map((text): Line => [{ text: "! ", style: "warn" }, text]),
  ];
}

/** Whether the host can reach anything: the exit status of `status`. */
export function hasUsableLink(status: Status): boolean {
  return status.links.some(({ state }) => state === LinkState.USABLE);
}

/** Whether another program keeps changing anything of MNM's. */
export function isContended({ contended, links }: Status): boolean {
  return contended.length > 0 || links.some((link) => link.contended.length > 0);
}

export function styledState({ state, contended }: Link): Span {
  if (contended.length > 0) {
    return { text: `${spoken(linkStateWord(state))}, contended`, style: "bad" };
  }
  const text = spoken(linkStateWord(state));
  const style = STATE_STYLES.get(state);
  return style === undefined ? text : { text, style };
}

function rowOf(link: Link): readonly Span[] {
  const isManaged = link.state !== LinkState.IGNORED;
  return [
    link.isDefault ? { text: "*", style: "strong" } : "",
    link.isDefault ? { text: link.name, style: "strong" } : link.name,
    linkKindWord(link.kind),
    styledState(link),
    link.metric === 0 ? "-" : link.metric.toString(),
    link.table === 0 ? "-" : link.table.toString(),
    (isManaged ? addressOf(link) : undefined) ?? "-",
    link.gateway === "" ? "-" : link.gateway,
    leaseOf(link),
    isManaged ? formatMs(link.sinceMs) : "-",
  ];
}

function addressOf(link: Link): string | undefined {
  const [first, ...others] = link.addresses;
  if (first === undefined) return undefined;
  return others.length === 0 ? first.address : `${first.address} +${others.length}`;
}

function leaseOf({ lease }: Link): string {
  if (lease === undefined) return "-";
  return lease.expiresInSec === undefined ? "forever" : formatSeconds(lease.expiresInSec);
}

function summaryOf(status: Status, warnings: number): Line {
  const usable = status.links.filter(({ state }) => state === LinkState.USABLE).length;
  const isNone = status.defaultLink === "";
  const counts = [
    plural(usable, "uplink"),
    ...(warnings === 0 ? [] : [plural(warnings, "warning")]),
    ...(status.settled ? [] : ["still starting"]),
  ];
  return [
    "default: ",
    isNone ? { text: "none", style: "bad" } : { text: status.defaultLink, style: "strong" },
    `   ${counts.join(", ")}`,
  ];
}

function hostOf(status: Status): Line {
  const isOk = status.helper?.state === HelperStatus_State.OK;
  const helper: Span = isOk ? "ok" : { text: "unreachable", style: "bad" };
  return [`mnm ${status.version}, up ${formatMs(status.uptimeMs)}, helper `, helper];
}

function spread(left: Line, right: Line, width: number): Line {
  const gap = Math.max(3, width - lineWidthOf(left) - lineWidthOf(right));
  return [...left, " ".repeat(gap), ...right];
}

/** The controller's warnings, and faults that they do not speak of already. */
function warningsOf(status: Status): readonly string[] {
  const told = status.warnings.map(({ link, text }) => (link === "" ? text : `${link}: ${text}`));
  const own = [
    ...helperWarningOf(status),
    ...status.links.flatMap(({ name, fault }) =>
      fault === undefined ? [] : [`${name}: ${faultSentence(fault)}`],
    ),
  ];
  return [...told, ...own.filter((text) => !told.some((line) => line.includes(text)))];
}

function helperWarningOf({ helper, warnings }: Status): readonly string[] {
  if (helper === undefined || helper.text === "") return [];
  const isTold = warnings.some(({ text }) => text.includes(helper.text));
  return isTold ? [] : [`helper: ${helper.text}`];
}

function plural(count: number, noun: string): string {
  if (count === 0) return `no ${noun}`;
  return count === 1 ? `1 ${noun}` : `${count} ${noun}s`;
}
