import { assertNever, formatIpv4, formatIpv4Prefix } from "@mnm/proto/net";
import { MAIN, type WantedAddress, type WantedRoute } from "../plan/index.js";
import { renderRule } from "./keys.js";
import type { Operation, RouteIdentity } from "./operation.js";
import { MNM_PROTOCOL } from "./snapshot.js";

const SETTING_SYSCTLS = {
  rpFilter: "rp_filter",
  arpIgnore: "arp_ignore",
  arpAnnounce: "arp_announce",
  ignoreRoutesWithLinkdown: "ignore_routes_with_linkdown",
  promoteSecondaries: "promote_secondaries",
} as const;

/** The operation as the ip(8) command that would do the same, for logs, answers and tests. */
export function renderOperation(operation: Operation): string {
  switch (operation.kind) {
    case "put-settings":
      return renderSettings(operation);
    case "put-address":
      return `ip address replace ${renderAddress(operation.address)}`;
    case "delete-address": {
      const { address, length, link } = operation;
      return `ip address delete ${formatIpv4(address)}/${length} dev ${link.name}`;
    }
    case "put-route":
      return `ip route replace ${renderRoute(operation.route)}`;
    case "delete-route":
      return `ip route delete ${renderDeleted(operation)} proto ${MNM_PROTOCOL}`;
    case "put-rule":
      return `ip rule add ${renderRule(operation.rule)} protocol ${MNM_PROTOCOL}`;
    case "delete-rule":
      return `ip rule delete ${renderRule(operation.rule)} protocol ${MNM_PROTOCOL}`;
    default:
      return assertNever(operation);
  }
}

/** What it is about, in ip(8)'s words: for naming it where no command is meant. */
export function renderObject(operation: Operation): string {
  switch (operation.kind) {
    case "put-settings":
      return renderSettings(operation);
    case "put-address":
    case "delete-address": {
      const { address, length } = operation.kind === "put-address" ? operation.address : operation;
      return `address ${formatIpv4(address)}/${length} dev ${operation.link.name}`;
    }
    case "put-route":
      return `route ${renderRouteIdentity(operation.route)} dev ${operation.link.name}`;
    case "delete-route":
      return `route ${renderDeleted(operation)}`;
    case "put-rule":
    case "delete-rule":
      return `rule ${renderRule(operation.rule)}`;
    default:
      return assertNever(operation);
  }
}

function renderSettings({ link, up, settings }: Operation & { kind: "put-settings" }): string {
  const changes = Object.entries(SETTING_SYSCTLS).flatMap(([name, sysctl]) => {
    const value = settings[name as keyof typeof SETTING_SYSCTLS];
    return value === undefined ? [] : [`${sysctl}=${value}`];
  });
  const upText = up ? [`ip link set ${link.name} up`] : [];
  const sysctlText =
    changes.length > 0 ? [`ipv4 settings of ${link.name}: ${changes.join(" ")}`] : [];
  return [...upText, ...sysctlText].join("; ");
}

function renderAddress({ address, length, broadcast, link, expiry }: WantedAddress): string {
  return [
    `${formatIpv4(address)}/${length}`,
    ...(broadcast === undefined ? [] : [`broadcast ${formatIpv4(broadcast)}`]),
    `dev ${link.name} noprefixroute`,
    ...(expiry === undefined ? [] : ["valid_lft of the lease"]),
    `proto ${MNM_PROTOCOL}`,
  ].join(" ");
}

function renderRoute(route: WantedRoute): string {
  const { gateway, link, preferredSource, mtu } = route;
  return [
    renderRouteIdentity(route),
    ...(gateway === undefined ? [] : [`via ${formatIpv4(gateway)}`]),
    `dev ${link.name} src ${formatIpv4(preferredSource)}`,
    ...(mtu === undefined ? [] : [`mtu ${mtu}`]),
    `proto ${MNM_PROTOCOL}`,
  ].join(" ");
}

function renderDeleted({ link, type, route }: Operation & { kind: "delete-route" }): string {
  const identity = renderRouteIdentity(route);
  return link === undefined ? `${type} ${identity}` : `${identity} dev ${link.name}`;
}

function renderRouteIdentity({ table, destination, metric }: RouteIdentity): string {
  const name = destination.length === 0 ? "default" : formatIpv4Prefix(destination);
  return [
    name,
    `table ${table === MAIN ? "main" : table}`,
    ...(metric === 0 ? [] : [`metric ${metric}`]),
  ].join(" ");
}
