import { type DeleteRoute, type PutRoute, RouteType } from "@mnm/proto/helper";
import * as rt from "netlink/dist/rt/gen_structs.js";
import { putU32be, type StreamData } from "netlink/dist/structs.js";
import { type AllowList, MAIN_TABLE, MNM_PROTOCOL } from "../allow-list.js";
import { dumpRoutes } from "../facts.js";
import { demand, foreign } from "../fault.js";
import * as netlink from "../route-socket.js";
import { AF_INET, u32 } from "../sys.js";
import * as check from "./check.js";

export function checkPutRoute(request: PutRoute, context: check.CheckContext) {
  const { preferredSource: source, onlink, mtu } = request;
  const link = check.checkLink(request.link, context);
  const target = checkTarget(request, link, context);
  const isPlain = source === undefined && mtu === undefined;
  const isPossible = isPlain || target.type === rt.RouteType.UNICAST;
  demand(isPossible, "malformed", "type", "unicast, for this route");
  demand(!onlink || target.gateway !== undefined, "malformed", "gateway", "present with onlink");
  const isMtu = mtu === undefined || (mtu >= 576 && mtu <= 9216);
  demand(isMtu, "malformed", "mtu", "576 to 9216");
  const preferredSource =
    source === undefined ? undefined : check.checkOwn("preferred_source", source, link, context);
  return { ...target, preferredSource, onlink, mtu };
}

/**
 * What a delete names. An unreachable, blackhole or throw route may come without a link: in the
 * kernel it has none, and outlives the one whose table it was put into. Protocol 77 is stated.
 */
export function checkDeleteRoute(request: DeleteRoute, context: check.CheckContext) {
  const isOfNone = request.link === undefined && OF_NO_LINK.has(request.type);
  const link = isOfNone ? undefined : check.checkLink(request.link, context);
  return checkTarget(request, link, context);
}

/** Which route is meant. The kernel tells them apart by table, destination and metric alone. */
function checkTarget(
  request: DeleteRoute,
  link: check.CheckedLink | undefined,
  context: check.CheckContext,
) {
  const { table, metric, gateway } = request;
  const type = KERNEL_TYPES.get(request.type);
  demand(type !== undefined, "malformed", "type", "one of the types of the contract");
  const destination = check.checkPrefix("destination", request.destination);
  const target = { link, table, type, destination, metric };
  checkPlace(context.allow, target);
  const first = destination.network >>> 24;
  const isOrdinary = first !== 127 && first < 224;
  demand(isOrdinary, "not-permitted", "destination", "outside of 127/8, 224/4 and 240/4");
  if (gateway === undefined) return { ...target, gateway };
  demand(type === rt.RouteType.UNICAST, "malformed", "gateway", "absent but for unicast");
  const hop = check.checkUnicast("gateway", gateway);
  // Of this link only: with overlapping subnets another uplink's gateway may have the same
  // number as our address there.
  const held = link === undefined ? [] : context.facts.addressesOf(link.ifindex);
  const isOwn = held.some(({ address }) => address === hop);
  demand(!isOwn, "not-permitted", "gateway", "no address of the link itself");
  return { ...target, gateway: hop };
}

/** Whether a route may be there: in a table of the range, or a default in main's window. */
export function checkPlace(
  allow: AllowList,
  route: Pick<Target, "table" | "type" | "metric"> & { readonly destination: { length: number } },
): void {
  if (route.table !== MAIN_TABLE) {
    check.checkTable(allow, route.table);
    return;
  }
  const { mainDefault } = allow;
  const [first, last] = mainDefault.metrics;
  const isInWindow = route.metric >= first && route.metric <= last;
  demand(mainDefault.allow, "not-permitted", "table", "another than main");
  demand(route.destination.length === 0, "not-permitted", "destination", "0.0.0.0/0 in main");
  demand(route.type === rt.RouteType.UNICAST, "not-permitted", "type", "unicast in main");
  demand(isInWindow, "not-permitted", "metric", `${first} to ${last} in main`);
}

/** Creates the route, or replaces one of ours with the same table, destination and metric. */
export function putRoute(request: PutRoute, context: check.OperationContext): void {
  const route = checkPutRoute(request, context);
  const { socket } = context;
  const payload = encodeRoute(route);
  if (socket.change(rt.MessageType.NEWROUTE, netlink.CREATE_EXCL, payload, "EEXIST")) return;
  // NLM_F_REPLACE takes the first of those with the same key (fib_table_insert in
  // net/ipv4/fib_trie.c). Any foreign one is reason enough to leave all of them alone.
  const { table, metric, destination } = route;
  for (const held of dumpRoutes(socket, { table }, destination.network)) {
    const isSame = held.metric === metric && held.tos === 0;
    const isHolder = isSame && check.isSamePrefix(held, destination);
    if (isHolder && held.protocol !== MNM_PROTOCOL) throw foreign(held.protocol);
  }
  socket.change(rt.MessageType.NEWROUTE, netlink.REPLACE, payload);
}

/** Protocol 77 is stated, so that the kernel itself finds no route of another program. */
export function deleteRoute(request: DeleteRoute, context: check.OperationContext): void {
  // Of any scope.
  const route = { ...checkDeleteRoute(request, context), scope: rt.RouteScope.NOWHERE };
  context.socket.change(rt.MessageType.DELROUTE, 0, encodeRoute(route), "ESRCH");
}

type Target = ReturnType<typeof checkTarget>;
type Details = Partial<ReturnType<typeof checkPutRoute>> & { readonly scope?: number };

function encodeRoute(route: Target & Details): StreamData[] {
  const { link, destination, type, gateway, preferredSource, onlink, mtu } = route;
  const isUnicast = type === rt.RouteType.UNICAST;
  // As ip(8) does: what ends on the link has the scope of the link.
  const usual = isUnicast && gateway === undefined ? rt.RouteScope.LINK : rt.RouteScope.UNIVERSE;
  const scope = route.scope ?? usual;
  const flags = { __unknown: onlink === true ? RTNH_F_ONLINK : 0 };
  const dstLen = destination.length;
  return [
    rt.formatRoute({ family: AF_INET, dstLen, protocol: MNM_PROTOCOL, scope, type, flags }),
    rt.formatRouteAttrs({
      dst: putU32be(destination.network),
      // The other types name no link, or the kernel refuses them.
      ...(isUnicast && link !== undefined && { oif: link.ifindex }),
      ...(gateway !== undefined && { gateway: putU32be(gateway) }),
      priority: route.metric,
      ...(preferredSource !== undefined && { prefsrc: putU32be(preferredSource) }),
      ...(mtu !== undefined && { metrics: { mtu: u32(mtu) } }),
      table: route.table,
    }),
  ];
}

const RTNH_F_ONLINK = 4;
const OF_NO_LINK = new Set<number>([RouteType.UNREACHABLE, RouteType.BLACKHOLE, RouteType.THROW]);
// A map, since the caller may send any number where the generated type promises one of these.
const KERNEL_TYPES: ReadonlyMap<number, number> = new Map([
  [RouteType.UNICAST, rt.RouteType.UNICAST],
  [RouteType.BLACKHOLE, rt.RouteType.BLACKHOLE],
  [RouteType.UNREACHABLE, rt.RouteType.UNREACHABLE],
  [RouteType.THROW, rt.RouteType.THROW],
]);
