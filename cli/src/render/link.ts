import {
  type Contention,
  type DhcpWait,
  type Lease,
  type Link,
  LinkState,
} from "@mnm/proto/network-manager";
import { formatMs, formatSeconds } from "./duration.js";
import { faultSentence } from "./fault.js";
import { undoing } from "./given-up.js";
import type { Line } from "./page.js";
import { styledState } from "./status.js";
import { linkKindWord, methodWord, metricSourceWord } from "./words.js";

/** What `mnmctl link` shows: a block for each link, an empty line between them. */
export function linksPage(links: readonly Link[]): readonly Line[] {
  return links.flatMap((link, index) => [...(index === 0 ? [] : [[]]), ...linkBlock(link)]);
}

function linkBlock(link: Link): readonly Line[] {
  const facts: readonly (readonly [string, string])[] = [
    ["ifindex", link.ifindex.toString()],
    ["identity", link.identity],
    ["mac", link.mac],
    ["mtu", link.mtu === 0 ? "" : link.mtu.toString()],
    ["carrier", `${yesNo(link.carrier)}, admin ${link.adminUp ? "up" : "down"}`],
    ["method", isManaged(link) ? methodWord(link.method) : ""],
    ["metric", link.metric === 0 ? "" : `${link.metric} (${metricSourceWord(link.metricSource)})`],
    ["table", link.table === 0 ? "" : `${link.table} (slot ${link.slot})`],
    ...link.addresses.map(({ address, ours, validSec }) => {
      const owner = ours ? "" : ", another program's";
      return ["address", `${address}${owner}, valid ${formatSeconds(validSec)}`] as const;
    }),
    ["gateway", link.gateway],
    ["shares with", link.sharesAddressWith],
    ...leaseFacts(link.lease),
    ...dhcpFacts(link),
    ["fault", link.fault === undefined ? "" : faultSentence(link.fault)],
    ...link.contended.map((contention) => ["contended", contentionSentence(contention)] as const),
  ];
  return [
    headOf(link),
    ...facts
      .filter(([, value]) => value !== "")
      .map(([name, value]): Line => [{ text: `  ${name.padEnd(12)}`, style: "dim" }, value]),
  ];
}

function headOf(link: Link): Line {
  const since = isManaged(link) ? ` for ${formatMs(link.sinceMs)}` : "";
  const role = link.isDefault ? ", the default" : "";
  return [
    { text: link.name, style: "strong" },
    `: ${linkKindWord(link.kind)}, `,
    styledState(link),
    link.state === LinkState.RELEASED ? ` (${undoing(link.name)})` : "",
    `${since}${role}`,
  ];
}

function leaseFacts(lease: Lease | undefined): readonly (readonly [string, string])[] {
  if (lease === undefined) return [];
  const deadlines = [
    ["renews", lease.t1InSec],
    ["rebinds", lease.t2InSec],
    ["ends", lease.expiresInSec],
  ] as const;
  const due = deadlines.flatMap(([name, seconds]) =>
    seconds === undefined ? [] : [`${name} in ${formatSeconds(seconds)}`],
  );
  const granted = [`${lease.address} from ${lease.server}`, formatSeconds(lease.leaseSec), ...due];
  return [
    ["lease", granted.join(", ")],
    ["gateways", lease.gateways.length > 1 ? lease.gateways.join(" ") : ""],
    ["routes", lease.routes.join(", ")],
    ["dns", lease.dnsServers.join(" ")],
    ["domain", lease.domain],
    ["search", lease.searchDomains.join(" ")],
    ["host name", lease.hostName],
    ["ntp", lease.ntpServers.join(" ")],
    ["lease mtu", lease.mtu === 0 ? "" : lease.mtu.toString()],
    ["portal", lease.captivePortal],
  ];
}

function dhcpFacts({ dhcp }: Link): readonly (readonly [string, string])[] {
  if (dhcp === undefined) return [];
  return [["dhcp", `${dhcp.state}${waitSentence(dhcp.wait)}`], ...counterFacts(dhcp.counters)];
}

function waitSentence(wait: DhcpWait | undefined): string {
  if (wait === undefined) return "";
  return `, asks again in ${formatMs(wait.remainingMs)} (${causeSentence(wait)})`;
}

function causeSentence({ cause, address, by }: DhcpWait): string {
  switch (cause) {
    case "nak":
      return `NAK from ${by} to ${address}`;
    case "unique":
    case "conflict":
      return `${by} has ${address}`;
    default:
      // Of a newer controller, too.
      return `${cause}: ${address} of ${by}`;
  }
}

/** Which counters stand together; those of a newer controller that fit none come last. */
const COUNTER_GROUPS: readonly (readonly [string, RegExp])[] = [
  ["messages", /^(received|sent-|send-failed)/],
  ["refused", /^refused-/],
  ["arp", /^arp-/],
  ["conflicts", /^conflict-/],
  ["counters", /^/],
];

function counterFacts(
  counters: Readonly<Record<string, bigint>>,
): readonly (readonly [string, string])[] {
  const groups = new Map(COUNTER_GROUPS.map(([group]) => [group, [] as string[]]));
  for (const [name, count] of Object.entries(counters).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const [group = ""] = COUNTER_GROUPS.find(([, pattern]) => pattern.test(name)) ?? [];
    groups.get(group)?.push(`${name} ${count}`);
  }
  return [...groups].map(([group, texts]) => [group, texts.join(", ")] as const);
}

function isManaged(link: Link): boolean {
  return link.state !== LinkState.IGNORED;
}

function contentionSentence({ object, culprit, hint, repairs, sinceMs }: Contention): string {
  const who = culprit === "" ? "" : ` by ${culprit}`;
  return `${object}, changed${who}, put back ${repairs} times, for ${formatMs(sinceMs)}; ${hint}`;
}

function yesNo(value: boolean): string {
  return value ? "yes" : "no";
}
