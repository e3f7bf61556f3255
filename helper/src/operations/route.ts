import { type DeleteRoute, type PutRoute, RouteType } from "@mnm/proto/helper";
import * as net from "@mnm/proto/net";
import { formatRoute } from "netlink/dist/rt/gen_structs.js";
import { getMap, type StreamData } from "netlink/dist/structs.js";
import { type AllowList, MAIN_TABLE, MNM_PROTOCOL } from "../allow-list.js";
import { demand, HelperError } from "../fault.js";
import * as netlink from "../route-socket.js";
import { u32 } from "../sys.js";
import * as check from "./check.js";

/** What a delete names. The kernel tells routes apart by table, destination and metric alone. */
interface RouteTarget {
  readonly link: check.CheckedLink;
  readonly table: number;
  /** RTN_*. */
  readonly type: number;
  readonly destination: net.Ipv4Prefix;
  readonly metric: number;
  readonly gateway: net.Ipv4 | undefined;
}

/** A route that passed {@link checkPutRoute}. */
export type CheckedRoute = net.Branded<
  RouteTarget & {
    readonly preferredSource: net.Ipv4 | undefined;
    readonly onlink: boolean;
    readonly mtu: number | undefined;
  },
  "CheckedRoute"
>;

/** A route that passed {@link checkDeleteRoute}. */
export type CheckedDeleteRoute = net.Branded<RouteTarget, "CheckedDeleteRoute">;

export function checkPutRoute(request: PutRoute, context: check.CheckContext): CheckedRoute {
  const { preferredSource: source, onlink, mtu } = request;
  const target = checkTarget(request, context);
  const own = { link: target.link, facts: context.facts };
  const isPlain = source === undefined && mtu === undefined;
  demand(isPlain || target.type === RTN_UNICAST, "malformed", "type", "unicast, for this route");
  demand(!onlink || target.gateway !== undefined, "malformed", "gateway", "present with onlink");
  const isMtu = mtu === undefined || (mtu >= 576 && mtu <= 9216);
  demand(isMtu, "malformed", "mtu", "576 to 9216");
  const preferredSource =
    source === undefined ? undefined : check.checkOwn("preferred_source", source, own);
  return { ...target, preferredSource, onlink, mtu } as CheckedRoute;
}

export function checkDeleteRoute(
  request: DeleteRoute,
  context: check.CheckContext,
): CheckedDeleteRoute {
  return checkTarget(request, context) as CheckedDeleteRoute;
}

function checkTarget(request: PutRoute | DeleteRoute, context: check.CheckContext): RouteTarget {
  const { table, metric, gateway } = request;
  const link = check.checkLink(request.link, context);
  const type = KERNEL_TYPES.get(request.type);
  demand(type !== undefined, "malformed", "type", "one of the types of the contract");
  const destination = check.checkPrefix("destination", request.destination);
  const target = { link, table, type, destination, metric };
  if (table === MAIN_TABLE) checkMain(context.allow, target);
  else check.checkTable(context.allow, table);
  const first = destination.network >>> 24;
  const isOrdinary = first !== 127 && first < 224;
  demand(isOrdinary, "not-permitted", "destination", "outside of 127/8, 224/4 and 240/4");
  if (gateway === undefined) return { ...target, gateway };
  demand(type === RTN_UNICAST, "malformed", "gateway", "absent but for unicast");
  const hop = check.checkUnicast("gateway", gateway);
  // Of this link only: with overlapping subnets another uplink's gateway may have the same
  // number as our address there.
  const isOwn = check.addressesOf(link, context.facts).some(({ address }) => address === hop);
  demand(!isOwn, "not-permitted", "gateway", "no address of the link itself");
  return { ...target, gateway: hop };
}

function checkMain({ mainDefault }: AllowList, route: Omit<RouteTarget, "gateway">): void {
  const [first, last] = mainDefault.metrics;
  const isInWindow = route.metric >= first && route.metric <= last;
  demand(mainDefault.allow, "not-permitted", "table", "another than main");
  demand(route.destination.length === 0, "not-permitted", "destination", "0.0.0.0/0 in main");
  demand(route.type === RTN_UNICAST, "not-permitted", "type", "unicast in main");
  demand(isInWindow, "not-permitted", "metric", `${first} to ${last} in main`);
}

/** Creates the route, or replaces one of ours with the same table, destination and metric. */
export function putRoute(socket: netlink.RouteSocket, route: CheckedRoute): void {
  const payload = encodeRoute(route);
  if (socket.change(RTM_NEWROUTE, netlink.NLM_F_CREATE_EXCL, payload, "EEXIST")) return;
  // NLM_F_REPLACE takes the first of those with the same key (fib_table_insert in
  // net/ipv4/fib_trie.c). Any foreign one is reason enough to leave all of them alone.
  for (const protocol of holdersOf(socket, route)) {
    if (protocol !== MNM_PROTOCOL) throw new HelperError({ code: "foreign", protocol });
  }
  socket.change(RTM_NEWROUTE, netlink.NLM_F_REPLACE, payload);
}

/** Protocol 77 is stated, so that the kernel itself finds no route of another program. */
export function deleteRoute(socket: netlink.RouteSocket, route: CheckedDeleteRoute): void {
  socket.change(RTM_DELROUTE, 0, encodeRoute({ ...route, scope: RT_SCOPE_NOWHERE }), "ESRCH");
}

/** The protocols of the routes that are where the new one should go. */
function holdersOf(socket: netlink.RouteSocket, route: CheckedRoute): readonly number[] {
  const table = netlink.attributes([[RTA.TABLE, u32(route.table)]]);
  const routes = socket.dump(RTM_GETROUTE, [formatRoute({ family: AF_INET }), table]);
  const isHolder = (payload: Buffer): boolean => {
    // struct rtmsg: family, destination length, source length, TOS; ours is 0.
    const attributes = getMap(payload.subarray(12), (data) => data);
    return (
      payload[1] === route.destination.length &&
      payload[3] === 0 &&
      // Each is absent when it is 0.
      (attributes.get(RTA.DST)?.readUInt32BE(0) ?? 0) === route.destination.network &&
      (attributes.get(RTA.PRIORITY)?.readUInt32LE(0) ?? 0) === route.metric &&
      attributes.get(RTA.TABLE)?.readUInt32LE(0) === route.table
    );
  };
  return routes.filter(isHolder).map((payload) => payload.readUInt8(5));
}

type RouteDetails = Partial<Pick<CheckedRoute, "preferredSource" | "onlink" | "mtu">>;

function encodeRoute(
  route: RouteTarget & RouteDetails & { readonly scope?: number },
): StreamData[] {
  const { destination, type, gateway, preferredSource, onlink, mtu } = route;
  const isUnicast = type === RTN_UNICAST;
  // As ip(8) does: what ends on the link has the scope of the link.
  const scope = route.scope ?? (isUnicast && gateway === undefined ? RT_SCOPE_LINK : 0);
  const flags = { __unknown: onlink === true ? RTNH_F_ONLINK : 0 };
  const dstLen = destination.length;
  return [
    formatRoute({ family: AF_INET, dstLen, protocol: MNM_PROTOCOL, scope, type, flags }),
    netlink.attributes([
      [RTA.DST, net.ipv4ToBytes(destination.network)],
      // The other types name no link, or the kernel refuses them.
      [RTA.OIF, isUnicast ? u32(route.link.ifindex) : undefined],
      [RTA.GATEWAY, gateway === undefined ? undefined : net.ipv4ToBytes(gateway)],
      [RTA.PRIORITY, u32(route.metric)],
      [RTA.PREFSRC, preferredSource === undefined ? undefined : net.ipv4ToBytes(preferredSource)],
      [RTA.METRICS, mtu === undefined ? undefined : netlink.attributes([[RTAX_MTU, u32(mtu)]])],
      [RTA.TABLE, u32(route.table)],
    ]),
  ];
}

const AF_INET = 2;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTA = { DST: 1, OIF: 4, GATEWAY: 5, PRIORITY: 6, PREFSRC: 7, METRICS: 8, TABLE: 15 } as const;
const RTAX_MTU = 2;
const RT_SCOPE_LINK = 253;
/** In a delete: of any scope. */
const RT_SCOPE_NOWHERE = 255;
const RTNH_F_ONLINK = 4;
const RTN_UNICAST = 1;
// A map, since the caller may send any number where the generated type promises one of these.
const KERNEL_TYPES: ReadonlyMap<number, number> = new Map([
  [RouteType.UNICAST, RTN_UNICAST],
  [RouteType.BLACKHOLE, 6],
  [RouteType.UNREACHABLE, 7],
  [RouteType.THROW, 9],
]);
