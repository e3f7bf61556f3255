import type {
  ConfigProblem,
  Contention,
  DhcpWait,
  Event,
  Fault,
  GivenUpLease,
  Lease,
  Link,
  Status,
} from "@mnm/proto/network-manager";
import {
  eventKindWord,
  faultCodeWord,
  helperStateWord,
  linkKindWord,
  linkStateWord,
  methodWord,
  metricSourceWord,
  reasonWord,
} from "./words.js";

/** Raised when a field changes its meaning or goes; not when one is added. */
const JSON_VERSION = 1;

/** A JSON object on one line or, for people, on many. */
export function formatJson(fields: object, layout: "line" | "pretty"): string {
  const text = JSON.stringify(
    { version: JSON_VERSION, ...fields },
    replacement,
    layout === "pretty" ? 2 : undefined,
  );
  // JSON leaves DEL, C1 and bidirectional characters as they are; a terminal obeys them.
  return `${text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => (c === "\n" ? c : unicodeEscape(c)))}\n`;
}

/** JSON has one word for what is not there, and every key is always present. */
function replacement(_key: string, value: unknown): unknown {
  if (value === undefined) return null;
  return typeof value === "bigint" ? Number(value) : value;
}

function unicodeEscape(character: string): string {
  return [...Array(character.length).keys()]
    .map((index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`)
    .join("");
}

export function statusJson(status: Status): object {
  return {
    mnm_version: status.version,
    instance: status.instance,
    uptime_ms: status.uptimeMs,
    settled: status.settled,
    default_link: orNone(status.defaultLink),
    last_sequence: status.lastSequence,
    helper: {
      state: helperStateWord(status.helper?.state ?? 0),
      text: orNone(status.helper?.text ?? ""),
      version: orNone(status.helper?.version ?? ""),
      capabilities: status.helper?.capabilities ?? [],
    },
    config: {
      file: orNone(status.config?.file ?? ""),
      stale: status.config?.stale ?? false,
      problems: (status.config?.problems ?? []).map(problemJson),
    },
    links: status.links.map(linkJson),
    warnings: status.warnings.map(({ link, text }) => ({ link: orNone(link), text })),
    contended: status.contended.map(contentionJson),
  };
}

export function linkJson(link: Link): object {
  return {
    name: link.name,
    ifindex: link.ifindex,
    identity: link.identity,
    mac: orNone(link.mac),
    kind: linkKindWord(link.kind),
    state: linkStateWord(link.state),
    method: link.method === 0 ? undefined : methodWord(link.method),
    admin_up: link.adminUp,
    carrier: link.carrier,
    slot: orNone(link.slot),
    table: orNone(link.table),
    metric: orNone(link.metric),
    metric_source: link.metricSource === 0 ? undefined : metricSourceWord(link.metricSource),
    is_default: link.isDefault,
    addresses: link.addresses.map(({ address, ours, validSec }) => ({
      address,
      ours,
      valid_sec: validSec,
    })),
    gateway: orNone(link.gateway),
    shares_address_with: orNone(link.sharesAddressWith),
    mtu: orNone(link.mtu),
    since_ms: link.sinceMs,
    since_boot_ms: link.sinceBootMs,
    lease: link.lease === undefined ? undefined : leaseJson(link.lease),
    dhcp:
      link.dhcp === undefined
        ? undefined
        : {
            state: link.dhcp.state,
            counters: link.dhcp.counters,
            wait: link.dhcp.wait === undefined ? undefined : waitJson(link.dhcp.wait),
          },
    fault: link.fault === undefined ? undefined : faultJson(link.fault),
    contended: link.contended.map(contentionJson),
  };
}

function waitJson({ cause, address, by, remainingMs }: DhcpWait): object {
  return { cause, address, by, remaining_ms: remainingMs };
}

function contentionJson({ object, culprit, hint, repairs, sinceMs }: Contention): object {
  return { object, culprit: orNone(culprit), hint, repairs, since_ms: sinceMs };
}

export function leaseJson(lease: Lease): object {
  return {
    address: lease.address,
    server: lease.server,
    gateways: lease.gateways,
    dns_servers: lease.dnsServers,
    domain: orNone(lease.domain),
    search_domains: lease.searchDomains,
    host_name: orNone(lease.hostName),
    ntp_servers: lease.ntpServers,
    captive_portal: orNone(lease.captivePortal),
    mtu: orNone(lease.mtu),
    routes: lease.routes,
    lease_sec: lease.leaseSec,
    t1_in_sec: lease.t1InSec,
    t2_in_sec: lease.t2InSec,
    expires_in_sec: lease.expiresInSec,
  };
}

export function givenUpJson(lease: GivenUpLease | undefined): object | undefined {
  if (lease === undefined) return undefined;
  return { address: lease.address, server: lease.server, server_told: lease.serverTold };
}

export function eventJson(event: Event): object {
  return {
    sequence: event.sequence,
    instance: event.instance,
    wall_ms: event.wallMs,
    boot_ms: event.bootMs,
    link: event.link === undefined ? undefined : { ...event.link },
    kind: eventKindWord(event.kind),
    reason: reasonWord(event.reason),
    before: orNone(event.before),
    after: orNone(event.after),
    text: event.text,
  };
}

export function faultJson(fault: Fault): object {
  return {
    code: faultCodeWord(fault.code),
    text: fault.text,
    hint: orNone(fault.hint),
    field: orNone(fault.field),
    holder: orNone(fault.holder),
    errno: orNone(fault.errno),
    kernel_text: orNone(fault.kernelText),
    problems: fault.problems.map(problemJson),
  };
}

/** Also for the problems that `check` finds itself: they have the same fields. */
export function problemJson({ file, line, column, value, text }: ConfigProblem): object {
  return { file, line, column, value, text };
}

/** proto3 says "" and 0 for what is not there. */
function orNone<T extends string | number>(value: T): T | undefined {
  return value === "" || value === 0 ? undefined : value;
}
