import type { Ifindex, LinkName, MacAddress } from "@mnm/proto/net";

/** A kernel network interface as RTM_NEWLINK describes it, normalised. */
export interface Link {
  readonly ifindex: Ifindex;
  readonly name: LinkName;
  /** IFLA_ADDRESS where it has six bytes. */
  readonly mac: MacAddress | undefined;
  /** IFLA_PERM_ADDRESS where it has six bytes: does not change when the MAC is set. */
  readonly permanentMac: MacAddress | undefined;
  /** ARPHRD_*: 1 Ethernet, 512 PPP, 519 raw IP, 65534 none, 772 loopback. */
  readonly hardwareType: number;
  /** IFLA_INFO_KIND: `veth`, `bridge`, `vlan`; undefined for hardware. */
  readonly infoKind: string | undefined;
  /** IFLA_PARENT_DEV_NAME: the USB port or PCI slot. */
  readonly parentDevice: string | undefined;
  /** DEVTYPE of sysfs' uevent file: `wlan`, `wwan`; undefined for plain Ethernet. */
  readonly deviceType: string | undefined;
  /** The bridge or bond that this link is a port of. */
  readonly master: Ifindex | undefined;
  readonly adminUp: boolean;
  /** Signal on the medium: IFF_LOWER_UP. */
  readonly carrier: boolean;
  readonly operstate: Operstate;
  readonly loopback: boolean;
  readonly pointToPoint: boolean;
  /** In bytes. */
  readonly mtu: number;
  /** IFLA_AF_SPEC, AF_INET, IFLA_INET_CONF. */
  readonly settings: LinkSettings;
}

/** RFC 2863's states as linux/if.h numbers them. */
export type Operstate =
  | "unknown"
  | "not-present"
  | "down"
  | "lower-layer-down"
  | "testing"
  | "dormant"
  | "up";

/** The five IPv4 settings of a link that MNM may change (ip-sysctl). */
export interface LinkSettings {
  readonly rpFilter: number;
  readonly arpIgnore: number;
  readonly arpAnnounce: number;
  readonly ignoreRoutesWithLinkdown: number;
  readonly promoteSecondaries: number;
}

/** Admin up, carrier, and operstate up or unknown (drivers without operstate say unknown). */
export function isUsable(link: Link): boolean {
  return link.adminUp && link.carrier && (link.operstate === "up" || link.operstate === "unknown");
}

export type LinkKind = "wired" | "wlan" | "wwan" | "ppp" | "bridge" | "veth" | "other";

const ARPHRD_ETHER = 1;
const ARPHRD_PPP = 512;
const ARPHRD_RAWIP = 519;
const ARPHRD_NONE = 0xfffe;

export function linkKindOf(link: Link): LinkKind {
  if (link.hardwareType === ARPHRD_PPP) return "ppp";
  if (link.deviceType === "wlan") return "wlan";
  if (link.deviceType === "wwan") return "wwan";
  // Modems without sysfs' word for it: raw IP, or a bare link whose name says so.
  if (link.hardwareType === ARPHRD_RAWIP) return "wwan";
  if (link.hardwareType === ARPHRD_NONE && link.name.startsWith("wwan")) return "wwan";
  if (link.infoKind === "bridge" || link.deviceType === "bridge") return "bridge";
  if (link.infoKind === "veth") return "veth";
  if (link.hardwareType === ARPHRD_ETHER && link.infoKind === undefined) return "wired";
  return "other";
}
