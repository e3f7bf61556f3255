import type { PutLinkSettings } from "@mnm/proto/helper";
import type { Branded } from "@mnm/proto/net";
import { formatLink } from "netlink/dist/rt/gen_structs.js";
import { demand } from "../fault.js";
import { attributes, type RouteSocket } from "../route-socket.js";
import { u32 } from "../sys.js";
import { type CheckContext, type CheckedLink, checkLink } from "./check.js";

/** Settings that passed {@link checkPutLinkSettings}: IPV4_DEVCONF_* and its value. */
export type CheckedLinkSettings = Branded<
  {
    readonly link: CheckedLink;
    readonly up: boolean;
    readonly settings: readonly (readonly [devconf: number, value: number])[];
  },
  "CheckedLinkSettings"
>;

/** The five, with their IPV4_DEVCONF_* of linux/ip.h and their largest value. */
const SETTINGS = [
  { key: "rpFilter", field: "rp_filter", devconf: 8, largest: 2 },
  { key: "arpAnnounce", field: "arp_announce", devconf: 18, largest: 2 },
  { key: "arpIgnore", field: "arp_ignore", devconf: 19, largest: 8 },
  { key: "promoteSecondaries", field: "promote_secondaries", devconf: 20, largest: 1 },
  {
    key: "ignoreRoutesWithLinkdown",
    field: "ignore_routes_with_linkdown",
    devconf: 29,
    largest: 1,
  },
] as const;

export function checkPutLinkSettings(
  request: PutLinkSettings,
  context: CheckContext,
): CheckedLinkSettings {
  const link = checkLink(request.link, context);
  const settings: CheckedLinkSettings["settings"] = SETTINGS.flatMap((setting) => {
    const { key, field, devconf, largest } = setting;
    const value = request[key];
    if (value === undefined) return [];
    demand(value <= largest, "not-permitted", field, `0 to ${largest}`);
    return [[devconf, value] as const];
  });
  return { link, up: request.up, settings } as CheckedLinkSettings;
}

/** By netlink and not by /proc/sys, which the helper's sandbox need not be able to write. */
export function putLinkSettings(socket: RouteSocket, checked: CheckedLinkSettings): void {
  const { link, up, settings } = checked;
  const flags = up ? ({ flags: { up: true }, change: { up: true } } as const) : {};
  const conf = attributes(settings.map(([devconf, value]) => [devconf, u32(value)]));
  const spec = attributes([[AF_INET, attributes([[IFLA_INET_CONF, conf]])]]);
  socket.change(RTM_SETLINK, 0, [
    formatLink({ index: link.ifindex, ...flags }),
    attributes([[IFLA_AF_SPEC, settings.length === 0 ? undefined : spec]]),
  ]);
}

const AF_INET = 2;
const RTM_SETLINK = 19;
const IFLA_AF_SPEC = 26;
const IFLA_INET_CONF = 1;
