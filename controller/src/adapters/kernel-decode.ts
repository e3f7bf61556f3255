// Rtnetlink messages as the pure types of `link` and `reconcile`.
//
// Decoded here and not with the `netlink` package's parsers, for four reasons that were looked at:
// they throw when a newer kernel made a structure longer (and a message that can never be decoded
// would mean a resync for ever), they drop attributes that they do not know (IFA_PROTO, and every
// rule selector newer than 2022, which would make a foreign rule look like one of ours), they
// decode some sixty attributes of a link where we want eleven, and loading them takes 7 ms.
import {
  type Ifindex,
  type Instant,
  type Ipv4,
  type Ipv4Prefix,
  ifindexFromNumber,
  instantFromMs,
  ipv4FromUint32,
  type LinkName,
  linkNameFromKernel,
  macFromBytes,
  networkOf,
  ok,
  prefixLengthFromNumber,
  type Result,
} from "@mnm/proto/net";
import type { Link, LinkSettings, Operstate } from "../link/index.js";
import {
  type KernelAddress,
  type KernelNotification,
  type KernelRoute,
  type KernelRule,
  MAIN_TABLE,
  MNM_PROTOCOL,
  type RouteType,
} from "../reconcile/index.js";
import { isUplinkTable } from "../uplink/index.js";
import {
  AF_INET,
  Attributes,
  type DecodeFault,
  malformed,
  type NetlinkMessage,
  NLM_F_REPLACE,
  RT_TABLE_COMPAT,
  RTM,
} from "./netlink-message.js";

/** DEVTYPE of a link; asked only where it can matter, as it costs a look at sysfs. */
export type DeviceTypeOf = (ifindex: Ifindex, name: LinkName) => string | undefined;

export interface DecodeContext {
  readonly now: Instant;
  readonly deviceTypeOf: DeviceTypeOf;
}

const AF_UNSPEC = 0;

const IGNORED = ok(undefined);

/**
 * What a message says; undefined for what MNM does not look at: IPv6, bridge ports, cloned routes,
 * and foreign routes other than a default in main, or one that took another's place in a table of
 * ours. Serves for dumps as well, whose replies are the
 * same messages. Does not throw, whatever the bytes are.
 */
export function decodeNotification(
  message: NetlinkMessage,
  context: DecodeContext,
): Result<KernelNotification | undefined, DecodeFault> {
  switch (message.type) {
    case RTM.newLink:
    case RTM.newLink + 1:
      return decodeLinkMessage(message, context);
    case RTM.newAddress:
    case RTM.newAddress + 1:
      return decodeAddressMessage(message, context);
    case RTM.newRoute:
    case RTM.newRoute + 1:
      return decodeRouteMessage(message);
    case RTM.newRule:
    case RTM.newRule + 1:
      return decodeRuleMessage(message);
    default:
      return IGNORED;
  }
}

/** `struct ifinfomsg`, linux/rtnetlink.h. */
const LINK = {
  length: 16,
  address: 1,
  name: 3,
  mtu: 4,
  master: 10,
  wireless: 11,
  operstate: 16,
  linkInfo: 18,
  infoKind: 1,
  afSpec: 26,
  inetConf: 1,
  permanentAddress: 54,
  parentDeviceName: 56,
} as const;

const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_POINTOPOINT = 0x10;
const IFF_LOWER_UP = 0x10000;

const ARPHRD_ETHER = 1;

/** IF_OPER_*, RFC 2863. */
const OPERSTATES: readonly Operstate[] = [
  "unknown",
  "not-present",
  "down",
  "lower-layer-down",
  "testing",
  "dormant",
  "up",
];

function decodeLinkMessage(
  { type, payload }: NetlinkMessage,
  { deviceTypeOf }: DecodeContext,
): Result<KernelNotification | undefined, DecodeFault> {
  if (payload.length < LINK.length) return malformed("link header");
  // AF_BRIDGE messages speak of a bridge's port: their RTM_DELLINK means that the link left the
  // bridge, and taking it for the end of the link would withdraw an uplink that is there.
  if (payload.readUInt8(0) !== AF_UNSPEC) return IGNORED;
  const ifindex = ifindexFromNumber(payload.readInt32LE(4));
  if (type === RTM.newLink + 1) return ok({ kind: "link-gone", ifindex });

  const attributes = new Attributes("link", payload, LINK.length);
  // Wireless extensions send an RTM_NEWLINK that holds a name and their event and nothing else.
  if (attributes.has(LINK.wireless)) return IGNORED;
  const name = attributes.text(LINK.name);
  if (name === undefined) return malformed("link without a name");

  const hardwareType = payload.readUInt16LE(2);
  const flags = payload.readUInt32LE(8);
  const linkName = linkNameFromKernel(name);
  const infoKind = attributes.nested(LINK.linkInfo).text(LINK.infoKind);
  const mayHaveDeviceType = hardwareType === ARPHRD_ETHER && infoKind === undefined;
  const link: Link = {
    ifindex,
    name: linkName,
    mac: macFromBytes(attributes.bytes(LINK.address)),
    permanentMac: macFromBytes(attributes.bytes(LINK.permanentAddress)),
    hardwareType,
    infoKind,
    parentDevice: attributes.text(LINK.parentDeviceName),
    deviceType: mayHaveDeviceType ? deviceTypeOf(ifindex, linkName) : undefined,
    master: ifindexOrUndefined(attributes.u32(LINK.master)),
    adminUp: (flags & IFF_UP) !== 0,
    carrier: (flags & IFF_LOWER_UP) !== 0,
    operstate: OPERSTATES[attributes.u8(LINK.operstate) ?? 0] ?? "unknown",
    loopback: (flags & IFF_LOOPBACK) !== 0,
    pointToPoint: (flags & IFF_POINTOPOINT) !== 0,
    mtu: attributes.u32(LINK.mtu) ?? 0,
    settings: decodeSettings(attributes.nested(LINK.afSpec).nested(AF_INET).bytes(LINK.inetConf)),
  };
  return attributes.check<KernelNotification>({ kind: "link", link });
}

/**
 * IFLA_INET_CONF is an array of u32 that starts with IPV4_DEVCONF_FORWARDING = 1, linux/ip.h. A link
 * without IPv4 (MTU below 68) has none: everything off.
 */
function decodeSettings(conf: Buffer): LinkSettings {
  const setting = (devconf: number): number =>
    conf.length >= devconf * 4 ? conf.readInt32LE((devconf - 1) * 4) : 0;
  return {
    rpFilter: setting(8),
    arpAnnounce: setting(18),
    arpIgnore: setting(19),
    promoteSecondaries: setting(20),
    ignoreRoutesWithLinkdown: setting(29),
  };
}

/** `struct ifaddrmsg`, linux/if_addr.h. */
const ADDRESS = {
  length: 8,
  address: 1,
  local: 2,
  broadcast: 4,
  cacheInfo: 6,
  flags: 8,
  protocol: 11,
} as const;

const IFA_F_NOPREFIXROUTE = 0x200;
const INFINITY_LIFE_TIME = 0xffff_ffff;

function decodeAddressMessage(
  { type, payload }: NetlinkMessage,
  { now }: DecodeContext,
): Result<KernelNotification | undefined, DecodeFault> {
  if (payload.length < ADDRESS.length) return malformed("address header");
  if (payload.readUInt8(0) !== AF_INET) return IGNORED;
  const attributes = new Attributes("address", payload, ADDRESS.length);
  const length = prefixLengthFromNumber(payload.readUInt8(1));
  const remote = attributes.ipv4(ADDRESS.address);
  // Without IFA_LOCAL the two are the same.
  const local = attributes.ipv4(ADDRESS.local) ?? remote;
  if (local === undefined || length === undefined) return malformed("address without an address");
  const flags = attributes.u32(ADDRESS.flags) ?? payload.readUInt8(2);
  const cacheInfo = attributes.bytes(ADDRESS.cacheInfo);
  const validSec = cacheInfo.length >= 8 ? cacheInfo.readUInt32LE(4) : INFINITY_LIFE_TIME;
  const address: KernelAddress = {
    ifindex: ifindexFromNumber(payload.readUInt32LE(4)),
    address: local,
    length,
    peer: remote === local ? undefined : remote,
    broadcast: attributes.ipv4(ADDRESS.broadcast),
    protocol: attributes.u8(ADDRESS.protocol) ?? 0,
    noprefixroute: (flags & IFA_F_NOPREFIXROUTE) !== 0,
    scope: payload.readUInt8(3),
    expiry: validSec === INFINITY_LIFE_TIME ? undefined : instantFromMs(now + validSec * 1000),
  };
  return attributes.check<KernelNotification>({
    kind: type === RTM.newAddress ? "address" : "address-gone",
    address,
  });
}

/** `struct rtmsg`, linux/rtnetlink.h. */
const ROUTE = {
  length: 12,
  destination: 1,
  outputLink: 4,
  gateway: 5,
  priority: 6,
  preferredSource: 7,
  metrics: 8,
  metricsMtu: 2,
  table: 15,
} as const;

const RTM_F_CLONED = 0x200;
const RTNH_F_ONLINK = 4;

/** RTN_*. */
const ROUTE_TYPES = new Map<number, RouteType>([
  [1, "unicast"],
  [6, "blackhole"],
  [7, "unreachable"],
  [9, "throw"],
]);

function decodeRouteMessage({
  type,
  flags,
  payload,
}: NetlinkMessage): Result<KernelNotification | undefined, DecodeFault> {
  if (payload.length < ROUTE.length) return malformed("route header");
  const isReplacement = type === RTM.newRoute && (flags & NLM_F_REPLACE) !== 0;
  if (isForeignRoute(payload, isReplacement)) return IGNORED;
  const attributes = new Attributes("route", payload, ROUTE.length);
  const destination = prefixOf(attributes.ipv4(ROUTE.destination), payload.readUInt8(1));
  if (destination === undefined) return malformed("route destination");
  const route: KernelRoute = {
    // rtm_table has eight bits and says RT_TABLE_COMPAT for larger ones.
    table: attributes.u32(ROUTE.table) ?? payload.readUInt8(4),
    type: ROUTE_TYPES.get(payload.readUInt8(7)) ?? "other",
    destination,
    metric: attributes.u32(ROUTE.priority) ?? 0,
    tos: payload.readUInt8(3),
    scope: payload.readUInt8(6),
    protocol: payload.readUInt8(5),
    ifindex: ifindexOrUndefined(attributes.u32(ROUTE.outputLink)),
    gateway: attributes.ipv4(ROUTE.gateway),
    preferredSource: attributes.ipv4(ROUTE.preferredSource),
    mtu: attributes.nested(ROUTE.metrics).u32(ROUTE.metricsMtu),
    onlink: (payload.readUInt32LE(8) & RTNH_F_ONLINK) !== 0,
  };
  // By the header, any table above 255 may be one of ours.
  const { table, protocol } = route;
  const isElsewhere = table !== MAIN_TABLE && !isUplinkTable(table);
  if (protocol !== MNM_PROTOCOL && isElsewhere) return attributes.check(undefined);
  return attributes.check<KernelNotification>({
    kind: type === RTM.newRoute ? "route" : "route-gone",
    route,
  });
}

/** By the fixed header alone: a host may have a million of them. */
function isForeignRoute(payload: Buffer, isReplacement: boolean): boolean {
  if (payload.readUInt8(0) !== AF_INET) return true;
  if ((payload.readUInt32LE(8) & RTM_F_CLONED) !== 0) return true;
  if (payload.readUInt8(5) === MNM_PROTOCOL) return false;
  const table = payload.readUInt8(4);
  if (table === RT_TABLE_COMPAT) return !isReplacement;
  const isDefault = payload.readUInt8(1) === 0;
  return !(isDefault && table === MAIN_TABLE);
}

/** FRA_*, linux/fib_rules.h. */
const RULE = {
  destination: 1,
  source: 2,
  inputLink: 3,
  priority: 6,
  suppressPrefixLength: 14,
  table: 15,
  outputLink: 17,
  padding: 18,
  protocol: 21,
} as const;

/** `struct fib_rule_hdr`. */
const RULE_LENGTH = 12;

const SHOWN_RULE_ATTRIBUTES: ReadonlySet<number> = new Set(Object.values(RULE));

const FR_ACT_TO_TBL = 1;
const FR_ACT_UNREACHABLE = 7;
/** FIB_RULE_PERMANENT, UNRESOLVED, IIF_DETACHED, OIF_DETACHED: the kernel's own remarks. */
const FIB_RULE_REMARKS = 0x1 | 0x4 | 0x8 | 0x10;

function decodeRuleMessage({
  type,
  payload,
}: NetlinkMessage): Result<KernelNotification | undefined, DecodeFault> {
  if (payload.length < RULE_LENGTH) return malformed("rule header");
  if (payload.readUInt8(0) !== AF_INET) return IGNORED;
  const attributes = new Attributes("rule", payload, RULE_LENGTH);
  const [toLength, fromLength] = [payload.readUInt8(1), payload.readUInt8(2)];
  const to = prefixOf(attributes.ipv4(RULE.destination), toLength);
  const from = prefixOf(attributes.ipv4(RULE.source), fromLength);
  if (to === undefined || from === undefined) return malformed("rule prefix");
  const action = ruleActionOf(payload.readUInt8(7));
  const hasFlags = (payload.readUInt32LE(8) & ~FIB_RULE_REMARKS) !== 0;
  const hasTos = payload.readUInt8(3) !== 0;
  const suppress = attributes.u32(RULE.suppressPrefixLength);
  const rule: KernelRule = {
    priority: attributes.u32(RULE.priority) ?? 0,
    from: fromLength === 0 ? undefined : from,
    to: toLength === 0 ? undefined : to,
    iif: linkNameOrUndefined(attributes.text(RULE.inputLink)),
    oif: linkNameOrUndefined(attributes.text(RULE.outputLink)),
    table: action === "lookup" ? (attributes.u32(RULE.table) ?? payload.readUInt8(4)) : 0,
    action,
    // The kernel's word for none is -1.
    suppressPrefixLength: suppress === 0xffff_ffff ? undefined : suppress,
    protocol: attributes.u8(RULE.protocol) ?? 0,
    isOpaque: hasFlags || hasTos || attributes.hasOtherThan(SHOWN_RULE_ATTRIBUTES),
  };
  return attributes.check<KernelNotification>({
    kind: type === RTM.newRule ? "rule" : "rule-gone",
    rule,
  });
}

function ruleActionOf(action: number): KernelRule["action"] {
  if (action === FR_ACT_TO_TBL) return "lookup";
  return action === FR_ACT_UNREACHABLE ? "unreachable" : "other";
}

/** An absent address is 0.0.0.0, which the kernel leaves out for /0. */
function prefixOf(network: Ipv4 | undefined, bits: number): Ipv4Prefix | undefined {
  const length = prefixLengthFromNumber(bits);
  if (length === undefined || (network === undefined && bits > 0)) return undefined;
  return networkOf(network ?? ipv4FromUint32(0), length);
}

function ifindexOrUndefined(value: number | undefined): Ifindex | undefined {
  return value === undefined || value === 0 ? undefined : ifindexFromNumber(value);
}

function linkNameOrUndefined(text: string | undefined): LinkName | undefined {
  return text === undefined ? undefined : linkNameFromKernel(text);
}
