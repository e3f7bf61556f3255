import {
  formatIpv4,
  type Ipv4,
  isNetworkOrBroadcast,
  networkOf,
  prefixContains,
} from "@mnm/proto/net";
import type { LinkMethod } from "./config.js";
import type { Fields, HostAddress } from "./fields.js";
import { fieldOf, hostIpv4 } from "./fields.js";
import type { Report } from "./problem.js";

/**
 * The static method of an entry whose address has been read. The gateway may lie outside the
 * prefix: hosters give out /32 addresses that way, and the kernel is given a route to it.
 */
export function staticMethodOf(
  host: HostAddress,
  fields: Fields,
  report: Report,
): LinkMethod | undefined {
  const gateway = fieldOf(fields, "gateway", hostIpv4, report);
  const isAddressRight = checkNotSpecial("address", { host, value: host.address }, fields, report);
  const isGatewayRight = gateway === undefined || checkGateway(gateway, host, fields, report);
  if (!isAddressRight || !isGatewayRight) return undefined;
  return { kind: "static", ...host, gateway };
}

function checkGateway(gateway: Ipv4, host: HostAddress, fields: Fields, report: Report): boolean {
  if (gateway === host.address) {
    const entry = fields.get("gateway");
    const text = "The gateway is the link's own address; it is the router's on that link";
    report.add(entry?.value.at ?? 0, formatIpv4(gateway), text);
    return false;
  }
  const isInside = prefixContains(networkOf(host.address, host.prefixLength), gateway);
  return !isInside || checkNotSpecial("gateway", { host, value: gateway }, fields, report);
}

function checkNotSpecial(
  key: "address" | "gateway",
  { host, value }: { readonly host: HostAddress; readonly value: Ipv4 },
  fields: Fields,
  report: Report,
): boolean {
  if (!isNetworkOrBroadcast(value, host.prefixLength)) return true;
  const entry = fields.get(key);
  const which = networkOf(value, host.prefixLength).network === value ? "network" : "broadcast";
  const text = `${key} ${formatIpv4(value)} is the ${which} address of its /${host.prefixLength}; choose one of a host`;
  report.add(entry?.value.at ?? 0, formatIpv4(value), text);
  return false;
}
