import {
  err,
  type Ipv4,
  isHostUnicast,
  isNetworkOrBroadcast,
  lastOf,
  networkOf,
  ok,
  type PrefixLength,
  prefixLengthFromMask,
  type Result,
} from "@mnm/proto/net";
import type { Reply } from "./codec.js";
import { INFINITE_SEC, type LeaseRoute, type LeaseTerms, MIN_LEASE_SEC } from "./lease.js";
import { type LeaseRemark, Option, OptionReader } from "./options.js";
import {
  classPrefixLength,
  decodeClasslessRoutes,
  decodeStaticRoutes,
  isUsableGateway,
  isUsableRoute,
  type OwnAddress,
} from "./routes.js";
import { decodeHttpsUrl, decodeName, decodeSearchDomains } from "./text.js";

/** Why an OFFER or ACK cannot become a lease. All but the first are a grant that we refuse. */
export type UnusableTerms =
  | "lease-time-missing"
  | "lease-too-short"
  | "address-unusable"
  | "mask-unusable";

/** Terms to live by, and what of the reply was left out of them. */
export interface CheckedTerms {
  readonly terms: LeaseTerms;
  readonly remarks: readonly LeaseRemark[];
}

// A home network needs one or two of each; more only make work for everything downstream.
const MAX_ADDRESSES = 8;
const MAX_ROUTES = 64;
const MAX_SEARCH_DOMAINS = 32;

/**
 * The terms of an OFFER or ACK. What a lease cannot do without is checked and refused; anything
 * else that is malformed or out of range is left out, with a remark.
 */
export function checkTerms(reply: Reply): Result<CheckedTerms, UnusableTerms> {
  const options = new OptionReader(reply.options);
  const leaseSec = options.u32(Option.leaseTime);
  if (leaseSec === undefined) return err("lease-time-missing");
  if (leaseSec < MIN_LEASE_SEC) return err("lease-too-short");
  const { address, serverId } = reply;
  const prefixLength = prefixLengthOf(options, address);
  const problem = addressProblem(address, prefixLength, serverId);
  if (problem !== undefined || prefixLength === undefined) return err(problem ?? "mask-unusable");

  const isInfinite = leaseSec === INFINITE_SEC;
  const terms: LeaseTerms = {
    address,
    prefixLength,
    serverId,
    ...routing(options, { address, prefixLength }),
    dnsServers: options.addresses(Option.dnsServers, MAX_ADDRESSES, isHostUnicast),
    ntpServers: options.addresses(Option.ntpServers, MAX_ADDRESSES, isHostUnicast),
    domain: options.decoded(Option.domain, decodeName, "unusable"),
    hostName: options.decoded(Option.hostName, decodeName, "unusable"),
    captivePortal: options.decoded(Option.captivePortal, decodeHttpsUrl, "unusable"),
    searchDomains: options.atMost(
      Option.searchDomains,
      MAX_SEARCH_DOMAINS,
      options.decoded(Option.searchDomains, decodeSearchDomains, "unusable") ?? [],
    ),
    broadcast: broadcastOf(options, address, prefixLength),
    mtu: mtuOf(options),
    leaseSec,
    t1Sec: isInfinite ? undefined : options.u32(Option.t1),
    t2Sec: isInfinite ? undefined : options.u32(Option.t2),
  };
  return ok({ terms, remarks: options.remarks });
}

/**
 * What keeps a host from having the address; undefined when nothing does. Every lease has
 * passed this, whether it comes off the wire or out of the lease store. The server's own address
 * would not only be taken: what is sent there to renew it would come back to ourselves.
 */
export function addressProblem(
  address: Ipv4,
  prefixLength: PrefixLength | undefined,
  serverId: Ipv4,
): "address-unusable" | "mask-unusable" | undefined {
  if (!isHostUnicast(address) || address === serverId) return "address-unusable";
  if (prefixLength === undefined || prefixLength < 8) return "mask-unusable";
  return isNetworkOrBroadcast(address, prefixLength) ? "address-unusable" : undefined;
}

/** Undefined when there is a mask, but it is none. */
function prefixLengthOf(options: OptionReader, address: Ipv4): PrefixLength | undefined {
  const mask = options.address(Option.subnetMask);
  if (mask === undefined) {
    // Absent or of a wrong length: as before there were masks. RFC 950 §2.1.
    if (options.bytes(Option.subnetMask) === undefined)
      options.remark(Option.subnetMask, "missing");
    return classPrefixLength(address);
  }
  const length = prefixLengthFromMask(mask);
  return length.ok ? length.value : undefined;
}

/**
 * Gateways and routes. RFC 3442: with option 121, options 3 and 33 are ignored; a malformed 121
 * counts as absent. Default routes become gateways, so that there is one place to look for them.
 */
function routing(options: OptionReader, own: OwnAddress): Pick<LeaseTerms, "gateways" | "routes"> {
  for (const option of [Option.classlessRoutes, Option.microsoftRoutes]) {
    const all = options.decoded(option, decodeClasslessRoutes, "malformed");
    if (all === undefined) continue;
    const usable = options.only(option, all, (route) => isUsableRoute(route, own));
    const defaults = usable.filter(isDefaultByGateway).map((route) => route.gateway);
    return {
      gateways: options
        .atMost(option, MAX_ADDRESSES, [...new Set(defaults)])
        .filter((gateway) => gateway !== undefined),
      routes: options.atMost(
        option,
        MAX_ROUTES,
        usable.filter((route) => !isDefaultByGateway(route)),
      ),
    };
  }
  const routes = options.decoded(Option.staticRoutes, decodeStaticRoutes, "malformed") ?? [];
  // RFC 2132 §5.8: 0.0.0.0 "is an illegal destination". By its class it is 0/8: not usable.
  const isUsable = (route: LeaseRoute) => isUsableRoute(route, own);
  return {
    gateways: options.addresses(Option.routers, MAX_ADDRESSES, (gateway) =>
      isUsableGateway(gateway, own),
    ),
    routes: options.atMost(
      Option.staticRoutes,
      MAX_ROUTES,
      options.only(Option.staticRoutes, routes, isUsable),
    ),
  };
}

/** A default route on the link itself stays a route: it has no gateway to name. */
function isDefaultByGateway({ destination, gateway }: LeaseRoute): boolean {
  return destination.length === 0 && gateway !== undefined;
}

/**
 * Only the prefix's own: any other would be an address that the host takes as its own, however
 * far away its holder is.
 */
function broadcastOf(
  options: OptionReader,
  address: Ipv4,
  prefixLength: PrefixLength,
): Ipv4 | undefined {
  const broadcast = options.address(Option.broadcast);
  if (broadcast === undefined) return undefined;
  return isBroadcastOf(broadcast, address, prefixLength)
    ? broadcast
    : options.remark(Option.broadcast, "unusable");
}

function mtuOf(options: OptionReader): number | undefined {
  const mtu = options.u16(Option.mtu);
  if (mtu === undefined || isUsableMtu(mtu)) return mtu;
  return options.remark(Option.mtu, "unusable");
}

/** Whether it is the broadcast address of the prefix of `address`; /31 and /32 have none. */
export function isBroadcastOf(broadcast: Ipv4, address: Ipv4, prefixLength: PrefixLength): boolean {
  return prefixLength <= 30 && broadcast === lastOf(networkOf(address, prefixLength));
}

/** RFC 791 §3.2 wants 576 of every host; above 9216 there is no Ethernet. */
export function isUsableMtu(mtu: number): boolean {
  return Number.isInteger(mtu) && mtu >= 576 && mtu <= 9216;
}
