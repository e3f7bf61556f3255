import { formatIpv4, formatIpv4Prefix, type Instant } from "@mnm/proto/net";
import {
  type Contention,
  EventKind,
  type Event as EventMessage,
  HelperStatus_State,
  type HelperStatus as HelperStatusMessage,
  type Lease as LeaseMessage,
  LinkKind,
  type Link as LinkMessage,
  LinkState,
  Method,
  MetricSource,
  Reason,
  type Status,
} from "@mnm/proto/network-manager";
import type { Lease } from "../dhcp4/index.js";
import type {
  Contended,
  HelperStatus,
  HostStatus,
  LinkStatus,
  ManagedStatus,
} from "../engine/index.js";
import type { EventKind as EngineEventKind, EventReason, JournalEntry } from "../events/index.js";
import { type KernelAddress, MNM_PROTOCOL } from "../reconcile/index.js";
import { encodeProblem, faultOfRefusal } from "./api-fault.js";

/** Never, in seconds, as on the wire and in the kernel. */
const FOREVER_SEC = 0xffff_ffff;

/** What the controller says of itself. */
export interface ControllerIdentity {
  readonly version: string;
  /** A random id of this start. */
  readonly instance: string;
  readonly startedAt: Instant;
}

export function encodeStatus(
  host: HostStatus,
  identity: ControllerIdentity,
  { now, lastSequence }: { readonly now: Instant; readonly lastSequence: number },
): Status {
  return {
    version: identity.version,
    instance: identity.instance,
    uptimeMs: wholeMs(now - identity.startedAt),
    helper: encodeHelper(host.helper),
    config: {
      file: host.configFile,
      stale: host.configProblems.length > 0,
      problems: host.configProblems.map(encodeProblem),
    },
    defaultLink: host.defaultLink ?? "",
    links: host.links.map((link) => encodeLink(link, now)),
    warnings: host.warnings,
    lastSequence: BigInt(lastSequence),
    settled: host.isSettled,
    contended: host.contended.map((contended) => encodeContended(contended, now)),
  };
}

function encodeHelper(helper: HelperStatus): HelperStatusMessage {
  if (helper.kind === "unreachable") {
    const state = HelperStatus_State.UNREACHABLE;
    return { state, text: helper.text, version: "", capabilities: [] };
  }
  const { version, capabilities } = helper.info;
  return { state: HelperStatus_State.OK, text: "", version, capabilities };
}

const LINK_KINDS: Readonly<Record<LinkStatus["kind"], LinkKind>> = {
  wired: LinkKind.WIRED,
  wlan: LinkKind.WLAN,
  wwan: LinkKind.WWAN,
  ppp: LinkKind.PPP,
  bridge: LinkKind.BRIDGE,
  veth: LinkKind.VETH,
  other: LinkKind.OTHER,
};

const LINK_STATES: Readonly<Record<LinkStatus["state"], LinkState>> = {
  ignored: LinkState.IGNORED,
  "no-carrier": LinkState.NO_CARRIER,
  configuring: LinkState.CONFIGURING,
  usable: LinkState.USABLE,
  holding: LinkState.HOLDING,
  faulty: LinkState.FAULTY,
  released: LinkState.RELEASED,
};

const METHODS: Readonly<Record<ManagedStatus["method"], Method>> = {
  dhcp: Method.DHCP,
  static: Method.STATIC,
  adopt: Method.ADOPTED,
};

const METRIC_SOURCES = {
  automatic: MetricSource.AUTOMATIC,
  configured: MetricSource.CONFIGURED,
  persisted: MetricSource.PERSISTED,
  runtime: MetricSource.RUNTIME,
} as const;

/** Tables are 7700 + slot. */
const TABLE_BASE = 7700;

export function encodeLink(status: LinkStatus, now: Instant): LinkMessage {
  const { link, managed, addresses } = status;
  return {
    name: link.name,
    ifindex: link.ifindex,
    identity: managed?.identity ?? `name:${link.name}`,
    mac: link.mac ?? "",
    kind: LINK_KINDS[status.kind],
    state: LINK_STATES[status.state],
    adminUp: link.adminUp,
    carrier: link.carrier,
    addresses: addresses.map((address) => encodeAddress(address, now)),
    isDefault: status.isDefault,
    mtu: link.mtu,
    contended: status.contended.map((contended) => encodeContended(contended, now)),
    ...encodeManaged(managed, now),
  };
}

function encodeContended({ since, ...contended }: Contended, now: Instant): Contention {
  return { ...contended, sinceMs: wholeMs(now - since) };
}

function encodeManaged(managed: ManagedStatus | undefined, now: Instant) {
  return {
    method: managed === undefined ? Method.UNSPECIFIED : METHODS[managed.method],
    slot: managed === undefined ? 0 : managed.table - TABLE_BASE,
    table: managed?.table ?? 0,
    metric: managed?.metric?.value ?? 0,
    metricSource:
      managed?.metric === undefined
        ? MetricSource.UNSPECIFIED
        : METRIC_SOURCES[managed.metric.source],
    gateway: managed?.gateway === undefined ? "" : formatIpv4(managed.gateway),
    lease: managed?.lease === undefined ? undefined : encodeLease(managed.lease, now),
    dhcp: encodeDhcp(managed, now),
    fault: managed?.fault === undefined ? undefined : faultOfRefusal(managed.fault),
    sinceMs: managed === undefined ? 0n : wholeMs(now - managed.since),
    sinceBootMs: managed === undefined ? 0n : wholeMs(managed.since),
    sharesAddressWith: managed?.sharesAddressWith ?? "",
  };
}

function encodeDhcp(managed: ManagedStatus | undefined, now: Instant): LinkMessage["dhcp"] {
  if (managed?.dhcpState === undefined) return undefined;
  const { wait } = managed;
  const counters = [...managed.counters].map(([name, count]) => [name, BigInt(count)] as const);
  return {
    state: managed.dhcpState,
    counters: Object.fromEntries(counters),
    wait:
      wait === undefined
        ? undefined
        : {
            cause: wait.cause,
            address: wait.address,
            by: wait.by,
            remainingMs: wholeMs(Math.max(0, wait.retryAt - now)),
          },
  };
}

function encodeAddress({ address, length, protocol, expiry }: KernelAddress, now: Instant) {
  return {
    address: `${formatIpv4(address)}/${length}`,
    ours: protocol === MNM_PROTOCOL,
    validSec: expiry === undefined ? FOREVER_SEC : wholeSec(expiry - now),
  };
}

function encodeLease({ terms, timers }: Lease, now: Instant): LeaseMessage {
  return {
    address: `${formatIpv4(terms.address)}/${terms.prefixLength}`,
    server: formatIpv4(terms.serverId),
    gateways: terms.gateways.map(formatIpv4),
    dnsServers: terms.dnsServers.map(formatIpv4),
    domain: terms.domain ?? "",
    leaseSec: terms.leaseSec,
    t1InSec: timers.kind === "finite" ? wholeSec(timers.t1 - now) : undefined,
    t2InSec: timers.kind === "finite" ? wholeSec(timers.t2 - now) : undefined,
    expiresInSec: timers.kind === "finite" ? wholeSec(timers.expiry - now) : undefined,
    mtu: terms.mtu ?? 0,
    routes: terms.routes.map(({ destination, gateway }) => {
      const via = gateway === undefined ? "on the link" : `via ${formatIpv4(gateway)}`;
      return `${formatIpv4Prefix(destination)} ${via}`;
    }),
    ntpServers: terms.ntpServers.map(formatIpv4),
    searchDomains: terms.searchDomains,
    hostName: terms.hostName ?? "",
    captivePortal: terms.captivePortal ?? "",
  };
}

export const EVENT_KINDS: Readonly<Record<EngineEventKind, EventKind>> = {
  "link-added": EventKind.LINK_ADDED,
  "link-removed": EventKind.LINK_REMOVED,
  "link-renamed": EventKind.LINK_RENAMED,
  "carrier-changed": EventKind.CARRIER_CHANGED,
  "address-added": EventKind.ADDRESS_ADDED,
  "address-removed": EventKind.ADDRESS_REMOVED,
  "uplink-usable": EventKind.UPLINK_USABLE,
  "uplink-unusable": EventKind.UPLINK_UNUSABLE,
  "metric-changed": EventKind.METRIC_CHANGED,
  "default-changed": EventKind.DEFAULT_CHANGED,
  "lease-bound": EventKind.LEASE_BOUND,
  "lease-renewed": EventKind.LEASE_RENEWED,
  "lease-rebinding": EventKind.LEASE_REBINDING,
  "lease-expired": EventKind.LEASE_EXPIRED,
  "lease-refused": EventKind.LEASE_REFUSED,
  "lease-declined": EventKind.LEASE_DECLINED,
  conflict: EventKind.CONFLICT,
  "external-change": EventKind.EXTERNAL_CHANGE,
  contended: EventKind.CONTENDED,
  uncontended: EventKind.UNCONTENDED,
  resynced: EventKind.RESYNCED,
  "config-applied": EventKind.CONFIG_APPLIED,
  "config-rejected": EventKind.CONFIG_REJECTED,
  fault: EventKind.FAULT,
};

const REASONS: Readonly<Record<EventReason, Reason>> = {
  unspecified: Reason.UNSPECIFIED,
  link: Reason.LINK,
  carrier: Reason.CARRIER,
  admin: Reason.ADMIN,
  lease: Reason.LEASE,
  operator: Reason.OPERATOR,
  config: Reason.CONFIG,
  external: Reason.EXTERNAL,
  overrun: Reason.OVERRUN,
  start: Reason.START,
  helper: Reason.HELPER,
  refused: Reason.REFUSED,
  collision: Reason.COLLISION,
  audit: Reason.AUDIT,
};

export function encodeEvent(
  { sequence, wallMs, at, event }: JournalEntry,
  instance: string,
): EventMessage {
  return {
    sequence: BigInt(sequence),
    instance,
    wallMs: BigInt(wallMs),
    bootMs: wholeMs(at),
    link: event.link,
    kind: EVENT_KINDS[event.kind],
    reason: REASONS[event.reason],
    before: event.before,
    after: event.after,
    text: event.text,
  };
}

function wholeMs(ms: number): bigint {
  return BigInt(Math.max(0, Math.floor(ms)));
}

/** What is left, for people: rounded to the nearest second, and never less than none. */
function wholeSec(ms: number): number {
  return Math.min(Math.max(0, Math.round(ms / 1000)), FOREVER_SEC);
}
