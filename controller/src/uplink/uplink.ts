import {
  type Instant,
  type Ipv4,
  type Ipv4Prefix,
  lastOf,
  networkOf,
  type PrefixLength,
} from "@mnm/proto/net";
import type { Lease } from "../dhcp4/index.js";
import type { LinkRef } from "../link/index.js";

/** A managed link that has an address, with its metric: everything the plan wants to know of it. */
export interface Uplink {
  readonly identity: string;
  readonly link: LinkRef;
  readonly table: number;
  readonly metric: number;
  readonly addressing: Addressing;
  readonly pointToPoint: boolean;
  /** Signal on the medium. Without it the kernel passes the uplink's routes over. */
  readonly carrier: boolean;
  /** Keeps its address and is fenced in, but carries no traffic: a static link without carrier. */
  readonly dormant: boolean;
}

/** An address and what belongs to it, wherever it came from. */
export interface Addressing {
  /** `adopted`: another program put the address there and owns it. */
  readonly origin: "lease" | "static" | "adopted";
  readonly address: Ipv4;
  readonly length: PrefixLength;
  readonly broadcast: Ipv4 | undefined;
  readonly gateway: Ipv4 | undefined;
  /** Without the default route, which is `gateway`. */
  readonly routes: readonly StaticRoute[];
  /** In bytes. */
  readonly mtu: number | undefined;
  /** When it ends; undefined for never. */
  readonly expiry: Instant | undefined;
}

/** A route of the lease. Without a gateway the destination is on the link. */
export interface StaticRoute {
  readonly destination: Ipv4Prefix;
  readonly gateway: Ipv4 | undefined;
}

/** `linkMtu` is what the link can carry: a lease may ask for less, and more would be dropped. */
export function addressingOfLease({ terms, timers }: Lease, linkMtu: number): Addressing {
  // A default among the classless routes is the gateway (RFC 3442: option 3 is then ignored).
  const isDefault = ({ destination }: StaticRoute): boolean => destination.length === 0;
  const fromRoutes = terms.routes.find(isDefault)?.gateway;
  return {
    origin: "lease",
    address: terms.address,
    length: terms.prefixLength,
    broadcast: broadcastOf(terms.address, terms.prefixLength),
    gateway: fromRoutes ?? terms.gateways[0],
    routes: terms.routes.filter((route) => !isDefault(route)),
    mtu: terms.mtu !== undefined && terms.mtu < linkMtu ? terms.mtu : undefined,
    expiry: timers.kind === "finite" ? timers.expiry : undefined,
  };
}

export function addressingOfStatic(
  address: Ipv4,
  length: PrefixLength,
  gateway: Ipv4 | undefined,
): Addressing {
  const broadcast = broadcastOf(address, length);
  const forever = { routes: [], mtu: undefined, expiry: undefined };
  return { origin: "static", address, length, broadcast, gateway, ...forever };
}

/** An address that another program put on the link, such as pppd's. */
export function addressingOfAdopted(address: Ipv4, length: PrefixLength): Addressing {
  const nothing = { broadcast: undefined, gateway: undefined, mtu: undefined, expiry: undefined };
  return { origin: "adopted", address, length, routes: [], ...nothing };
}

/**
 * The prefix's own broadcast address. Option 28 is not believed: `brd 8.8.8.8` would take 8.8.8.8
 * away from the whole host.
 */
function broadcastOf(address: Ipv4, length: PrefixLength): Ipv4 | undefined {
  return length <= 30 ? lastOf(networkOf(address, length)) : undefined;
}
