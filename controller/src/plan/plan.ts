/**
 * What the kernel should hold, as a function of the uplinks and nothing else.
 *
 * Every uplink has a table of its own, reached by rules: by device (9000), by source address
 * (10000), by destination prefix (20000 + metric). Unbound traffic follows the defaults in main by
 * metric. Rule 9500 lets other programs' specific routes in main win over ours; 10500 keeps traffic
 * of an address from leaving by a link that the address does not belong to.
 */
import {
  type Instant,
  type Ipv4,
  type Ipv4Prefix,
  type LinkName,
  networkOf,
  type PrefixLength,
  prefixContains,
} from "@mnm/proto/net";
import type { LinkRef } from "../link/index.js";
import type { Uplink } from "../uplink/index.js";

export interface WantedAddress {
  readonly link: LinkRef;
  readonly address: Ipv4;
  readonly length: PrefixLength;
  readonly broadcast: Ipv4 | undefined;
  /** When the kernel is to remove it by itself, undefined for never. */
  readonly expiry: Instant | undefined;
}

export interface WantedRoute {
  readonly link: LinkRef;
  readonly table: number;
  readonly destination: Ipv4Prefix;
  /** 0 in the uplinks' own tables. */
  readonly metric: number;
  readonly gateway: Ipv4 | undefined;
  readonly preferredSource: Ipv4;
  readonly mtu: number | undefined;
}

/** The kinds of rule of the helper's contract; each has its priority and selectors. */
export type WantedRule =
  | { readonly kind: "device"; readonly device: LinkName; readonly table: number }
  | { readonly kind: "main-without-defaults" }
  | { readonly kind: "source"; readonly from: Ipv4; readonly table: number }
  | { readonly kind: "source-unreachable"; readonly from: Ipv4 }
  | {
      readonly kind: "connected";
      readonly to: Ipv4Prefix;
      readonly metric: number;
      readonly table: number;
    };

/** A rule, and the link on whose behalf it exists; undefined for the shared one. */
export interface PlannedRule {
  readonly link: LinkRef | undefined;
  readonly rule: WantedRule;
}

export interface RoutingPlan {
  readonly addresses: readonly WantedAddress[];
  readonly routes: readonly WantedRoute[];
  readonly rules: readonly PlannedRule[];
}

export const MAIN = 254;
export const DEFAULT_DESTINATION: Ipv4Prefix = networkOf(0 as Ipv4, 0 as PrefixLength);

/** What one uplink needs, beside others of whose addresses these are the owners. */
export function planUplink(uplink: Uplink, owners: ReadonlyMap<Ipv4, Uplink>): RoutingPlan {
  const isOwner = owners.get(uplink.addressing.address) === uplink;
  const rules = isOwner ? addressRulesOf(uplink) : [];
  if (uplink.dormant) return { addresses: addressOf(uplink), routes: [], rules };
  return {
    addresses: addressOf(uplink),
    routes: [...tableRoutesOf(uplink), ...mainDefaultOf(uplink)],
    rules: [deviceRuleOf(uplink), ...rules],
  };
}

/** The rule that all uplinks share, while there is one. */
export function planShared(uplinks: readonly Uplink[]): readonly PlannedRule[] {
  return uplinks.length > 0 ? [MAIN_WITHOUT_DEFAULTS] : [];
}

const MAIN_WITHOUT_DEFAULTS: PlannedRule = {
  link: undefined,
  rule: { kind: "main-without-defaults" },
};

function addressOf({ link, addressing }: Uplink): readonly WantedAddress[] {
  if (addressing.origin === "adopted") return [];
  const { address, length, broadcast, expiry } = addressing;
  return [{ link, address, length, broadcast, expiry }];
}

/** The routes of the uplink's own table, those that others depend on first. */
function tableRoutesOf(uplink: Uplink): readonly WantedRoute[] {
  const { address, length, gateway, routes } = uplink.addressing;
  const prefix = networkOf(address, length);
  const make = (destination: Ipv4Prefix, via?: Ipv4): WantedRoute => ({
    ...routeBase(uplink),
    table: uplink.table,
    destination,
    metric: 0,
    gateway: via,
  });

  // A gateway outside the prefix is common on LTE; a host route makes it reachable.
  const gateways = new Set([gateway, ...routes.map((route) => route.gateway)]);
  const offPrefix = [...gateways].filter(
    (hop): hop is Ipv4 => hop !== undefined && !prefixContains(prefix, hop),
  );
  const unique = new Map<string, WantedRoute>();
  const wanted = [
    // A /32 has no neighbours: its only address is our own.
    ...(length < 32 ? [make(prefix)] : []),
    ...offPrefix.map((hop) => make(networkOf(hop, 32 as PrefixLength))),
    ...routes.map((route) => make(route.destination, route.gateway)),
    ...defaultOf(uplink, make),
  ];
  // The first wins: a server's classless route must not replace the connected one.
  for (const route of wanted) {
    const key = `${route.destination.network}/${route.destination.length}`;
    if (!unique.has(key)) unique.set(key, route);
  }
  return [...unique.values()];
}

function defaultOf(
  { addressing: { gateway }, pointToPoint }: Uplink,
  make: (destination: Ipv4Prefix, via?: Ipv4) => WantedRoute,
): readonly WantedRoute[] {
  if (gateway !== undefined) return [make(DEFAULT_DESTINATION, gateway)];
  return pointToPoint ? [make(DEFAULT_DESTINATION)] : [];
}

function mainDefaultOf(uplink: Uplink): readonly WantedRoute[] {
  return defaultOf(uplink, (destination, via) => ({
    ...routeBase(uplink),
    table: MAIN,
    destination,
    metric: uplink.metric,
    gateway: via,
  }));
}

function routeBase({ link, addressing: { address, mtu } }: Uplink) {
  return { link, preferredSource: address, mtu };
}

function deviceRuleOf({ link, table }: Uplink): PlannedRule {
  return { link, rule: { kind: "device", device: link.name, table } };
}

/** The rules that name the uplink's address or prefix; only one uplink can have them for each. */
function addressRulesOf(uplink: Uplink): readonly PlannedRule[] {
  const { link, table, metric, addressing, dormant } = uplink;
  const { address, length } = addressing;
  const rules: WantedRule[] = [{ kind: "source-unreachable", from: address }];
  if (!dormant) {
    rules.push({ kind: "source", from: address, table });
    if (length < 32) {
      rules.push({ kind: "connected", to: networkOf(address, length), metric, table });
    }
  }
  return rules.map((rule) => ({ link, rule }));
}
