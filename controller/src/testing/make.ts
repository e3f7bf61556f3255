import {
  type Ifindex,
  type Instant,
  type Ipv4,
  type LinkName,
  type MacAddress,
  networkOf,
  type PrefixLength,
  parseIpv4,
} from "@mnm/proto/net";
import type { Link } from "../link/index.js";
import type { Addressing, Uplink } from "../uplink/index.js";
import { addressingOfStatic } from "../uplink/index.js";

/** The address of dotted-quad text; a test with a bad one is broken. */
export function ip(text: string): Ipv4 {
  const parsed = parseIpv4(text);
  if (!parsed.ok) throw new SyntaxError(`Not an address: ${text}`);
  return parsed.value;
}

export function prefix(text: string) {
  const [address = "", length = ""] = text.split("/");
  return networkOf(ip(address), Number(length) as PrefixLength);
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

/** Link n: `wan<n>` with ifindex 10 + n, a veth that is up. */
export function makeLink(n: number, change: Partial<Link> = {}): Link {
  return {
    ifindex: (10 + n) as Ifindex,
    name: `wan${n}` as LinkName,
    mac: `02:00:00:00:${hex(n >> 8)}:${hex(n & 255)}` as MacAddress,
    permanentMac: undefined,
    hardwareType: 1,
    infoKind: "veth",
    parentDevice: undefined,
    deviceType: undefined,
    master: undefined,
    adminUp: true,
    carrier: true,
    operstate: "up",
    loopback: false,
    pointToPoint: false,
    mtu: 1500,
    settings: {
      rpFilter: 0,
      arpIgnore: 0,
      arpAnnounce: 0,
      ignoreRoutesWithLinkdown: 0,
      promoteSecondaries: 0,
    },
    ...change,
  };
}

/** Uplink n: 10.n.0.2/24 behind 10.n.0.1 on `wan<n>`, table 7700 + n, metric 1000 + n. */
export function makeUplink(
  n: number,
  change: Partial<Uplink> & { readonly with?: Partial<Addressing> } = {},
): Uplink {
  const { with: addressing, ...rest } = change;
  const { ifindex, name, mac } = makeLink(n);
  const base = addressingOfStatic(ip(`10.${n}.0.2`), 24 as PrefixLength, ip(`10.${n}.0.1`));
  return {
    identity: `name:wan${n}`,
    link: { ifindex, name, mac },
    table: 7700 + n,
    metric: 1000 + n,
    addressing: { ...base, expiry: 3_600_000 as Instant, ...addressing },
    pointToPoint: false,
    carrier: true,
    dormant: false,
    ...rest,
  };
}
