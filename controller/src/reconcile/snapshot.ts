import type { Ifindex, Instant, Ipv4, Ipv4Prefix, LinkName, PrefixLength } from "@mnm/proto/net";
import type { Link } from "../link/index.js";

/** An IPv4 interface address as the kernel holds it. */
export interface KernelAddress {
  readonly ifindex: Ifindex;
  /** IFA_LOCAL. */
  readonly address: Ipv4;
  readonly length: PrefixLength;
  /** IFA_ADDRESS where it differs from IFA_LOCAL. */
  readonly peer: Ipv4 | undefined;
  readonly broadcast: Ipv4 | undefined;
  /** IFA_PROTO; 0 when absent. */
  readonly protocol: number;
  /** IFA_F_NOPREFIXROUTE. */
  readonly noprefixroute: boolean;
  /** RT_SCOPE_*: 0 universe, 253 link, 254 host. */
  readonly scope: number;
  /** When the kernel removes it; undefined for never. Within a second: the kernel counts those. */
  readonly expiry: Instant | undefined;
}

/** RTN_* as far as MNM cares. `other`: local, broadcast, multicast, prohibit, nat. */
export type RouteType = "unicast" | "unreachable" | "blackhole" | "throw" | "other";

/** An IPv4 route as the kernel holds it. */
export interface KernelRoute {
  readonly table: number;
  readonly type: RouteType;
  /** An absent RTA_DST is 0.0.0.0/0. */
  readonly destination: Ipv4Prefix;
  /** RTA_PRIORITY; 0 when absent. */
  readonly metric: number;
  readonly tos: number;
  readonly scope: number;
  /** rtm_protocol. */
  readonly protocol: number;
  /** RTA_OIF; undefined for multipath and for routes without a link. */
  readonly ifindex: Ifindex | undefined;
  readonly gateway: Ipv4 | undefined;
  readonly preferredSource: Ipv4 | undefined;
  /** RTAX_MTU in bytes. */
  readonly mtu: number | undefined;
  /** RTNH_F_ONLINK. */
  readonly onlink: boolean;
}

/** FRA_*; an IPv4 policy rule as the kernel holds it. */
export interface KernelRule {
  readonly priority: number;
  /** An absent FRA_SRC is undefined, never 0/0. */
  readonly from: Ipv4Prefix | undefined;
  readonly to: Ipv4Prefix | undefined;
  readonly iif: LinkName | undefined;
  readonly oif: LinkName | undefined;
  /** FRA_TABLE; 0 when the action is not `lookup`. */
  readonly table: number;
  /** FR_ACT_TO_TBL, FR_ACT_UNREACHABLE, everything else. */
  readonly action: "lookup" | "unreachable" | "other";
  readonly suppressPrefixLength: number | undefined;
  /** FRA_PROTOCOL. */
  readonly protocol: number;
  /** It has selectors or flags that this type does not show (fwmark, uid range, invert, ports, tos). */
  readonly isOpaque: boolean;
}

/** What the kernel holds, as far as MNM looks: IPv4, all links, and see `routes`. */
export interface KernelSnapshot {
  readonly links: readonly Link[];
  readonly addresses: readonly KernelAddress[];
  /** Routes of protocol 77 in any table, and everybody's default routes in main. */
  readonly routes: readonly KernelRoute[];
  readonly rules: readonly KernelRule[];
  /** net.ipv4.conf.all.rp_filter: the kernel uses the maximum of it and the link's own. */
  readonly rpFilterAll: number;
}

/** One multicast message: what changed, in the same terms as a snapshot. */
export type KernelNotification = KernelChange & {
  /**
   * The netlink port of the program that asked for it, nlmsg_pid. Absent for what the kernel did by
   * itself, for ioctl(2), for what was written under /proc/sys, and for anything about links.
   */
  readonly requester?: number;
};

type KernelChange =
  | { readonly kind: "link"; readonly link: Link }
  | { readonly kind: "link-gone"; readonly ifindex: Ifindex }
  | { readonly kind: "address"; readonly address: KernelAddress }
  | { readonly kind: "address-gone"; readonly address: KernelAddress }
  | { readonly kind: "route"; readonly route: KernelRoute }
  | { readonly kind: "route-gone"; readonly route: KernelRoute }
  | { readonly kind: "rule"; readonly rule: KernelRule }
  | { readonly kind: "rule-gone"; readonly rule: KernelRule };

/** Mark on every object of ours: `rtm_protocol`, `FRA_PROTOCOL`, `IFA_PROTO`. */
export const MNM_PROTOCOL = 77;

export const MAIN_TABLE = 254;
