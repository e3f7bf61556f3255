import type { Status } from "@mnm/proto/network-manager";
import type { Namespace } from "../lab/index.js";

/**
 * A line for each link with its addresses: as the controller says it is, and as ip(8) does. The two
 * come to the same when the controller's model is right.
 */
export function modelText({ links }: Status): readonly string[] {
  return links
    .map(({ addresses, ...link }) =>
      linkText(
        link,
        addresses.map(({ address }) => address),
      ),
    )
    .toSorted();
}

export async function kernelLinkText(host: Namespace): Promise<readonly string[]> {
  const links: readonly IpLink[] = JSON.parse(await host.ip("-j", "-d", "addr"));
  return links
    .filter(({ flags }) => !flags.includes("LOOPBACK"))
    .map((link) =>
      linkText(
        {
          name: link.ifname,
          ifindex: link.ifindex,
          mac: link.address,
          adminUp: link.flags.includes("UP"),
          carrier: link.flags.includes("LOWER_UP"),
          mtu: link.mtu,
        },
        link.addr_info
          .filter(({ family }) => family === "inet")
          .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
      ),
    )
    .toSorted();
}

interface LinkFacts {
  readonly name: string;
  readonly ifindex: number;
  readonly mac: string;
  readonly adminUp: boolean;
  readonly carrier: boolean;
  readonly mtu: number;
}

/** Of `ip -j addr`, what is looked at. */
interface IpLink {
  readonly ifname: string;
  readonly ifindex: number;
  readonly address: string;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly addr_info: readonly {
    readonly family: string;
    readonly local: string;
    readonly prefixlen: number;
  }[];
}

function linkText(
  { name, ifindex, mac, adminUp, carrier, mtu }: LinkFacts,
  addresses: readonly string[],
): string {
  const state = `${adminUp ? "up" : "down"} ${carrier ? "carrier" : "no carrier"} mtu ${mtu}`;
  return `${ifindex}: ${name} ${mac} ${state} ${addresses.toSorted().join(" ")}`;
}
