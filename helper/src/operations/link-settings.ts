import type { PutLinkSettings } from "@mnm/proto/helper";
import { formatLink, MessageType } from "netlink/dist/rt/gen_structs.js";
import { putMap } from "netlink/dist/structs.js";
import { demand } from "../fault.js";
import { attribute } from "../route-socket.js";
import { AF_INET, u32 } from "../sys.js";
import { type CheckContext, checkLink, type OperationContext } from "./check.js";

/** The five: field, as the `.proto` spells it; IPV4_DEVCONF_* of linux/ip.h; largest value. */
const SETTINGS = [
  ["rpFilter", "rp_filter", 8, 2],
  ["arpAnnounce", "arp_announce", 18, 2],
  ["arpIgnore", "arp_ignore", 19, 8],
  ["promoteSecondaries", "promote_secondaries", 20, 1],
  ["ignoreRoutesWithLinkdown", "ignore_routes_with_linkdown", 29, 1],
] as const;

export function checkPutLinkSettings(request: PutLinkSettings, context: CheckContext) {
  const link = checkLink(request.link, context);
  const settings = SETTINGS.flatMap(([key, field, devconf, largest]) => {
    const value = request[key];
    if (value === undefined) return [];
    demand(value <= largest, "not-permitted", field, `0 to ${largest}`);
    return [[devconf, value] as const];
  });
  return { link, up: request.up, settings };
}

/** By netlink and not by /proc/sys, which the helper's sandbox need not be able to write. */
export function putLinkSettings(request: PutLinkSettings, context: OperationContext): void {
  const { link, up, settings } = checkPutLinkSettings(request, context);
  const flags = up ? ({ flags: { up: true }, change: { up: true } } as const) : {};
  const conf = putMap(new Map(settings), u32);
  const spec = attribute(IFLA_AF_SPEC, attribute(AF_INET, attribute(IFLA_INET_CONF, conf)));
  const payload = [formatLink({ index: link.ifindex, ...flags }), spec];
  context.socket.change(MessageType.SETLINK, 0, payload.slice(0, settings.length === 0 ? 1 : 2));
}

const IFLA_AF_SPEC = 26;
const IFLA_INET_CONF = 1;
