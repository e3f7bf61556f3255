import {
  ByteReader,
  type Ipv4,
  ipv4FromUint32,
  isHostUnicast,
  isNetworkOrBroadcast,
  networkOf,
  type PrefixLength,
  prefixContains,
  prefixLengthFromNumber,
} from "@mnm/proto/net";
import type { LeaseRoute } from "./lease.js";

const CLASS_A = constantLength(8);
const CLASS_B = constantLength(16);
const CLASS_C = constantLength(24);
const HOST = constantLength(32);

/**
 * The routes of option 121 or 249: each a length, as many bytes of destination as it needs, and
 * a gateway (RFC 3442). Undefined when any is malformed: the rest cannot be told apart then.
 */
export function decodeClasslessRoutes(bytes: Uint8Array): readonly LeaseRoute[] | undefined {
  const reader = new ByteReader(bytes);
  const routes: LeaseRoute[] = [];
  while (reader.remaining > 0) {
    const length = prefixLengthFromNumber(reader.u8());
    if (length === undefined) return undefined;
    const significant = reader.bytes(Math.ceil(length / 8));
    const destination = significant.reduce((sum, byte, at) => sum + byte * 2 ** (24 - 8 * at), 0);
    const gateway = ipv4FromUint32(reader.u32());
    routes.push({
      // RFC 3442: host bits may be set and are to be cleared.
      destination: networkOf(ipv4FromUint32(destination), length),
      // 0.0.0.0 means: on the link itself.
      gateway: gateway === 0 ? undefined : gateway,
    });
  }
  return reader.overrun || routes.length === 0 ? undefined : routes;
}

/**
 * The routes of option 33: pairs of destination and gateway (RFC 2132 §5.8). Undefined when the
 * length is no multiple of 8. The option has no masks: a destination is a network of its class
 * where it has no host bits there, and else a host.
 */
export function decodeStaticRoutes(bytes: Uint8Array): readonly LeaseRoute[] | undefined {
  if (bytes.length === 0 || bytes.length % 8 !== 0) return undefined;
  const reader = new ByteReader(bytes);
  const routes: LeaseRoute[] = [];
  while (reader.remaining > 0) {
    const destination = ipv4FromUint32(reader.u32());
    const gateway = ipv4FromUint32(reader.u32());
    const ofClass = networkOf(destination, classPrefixLength(destination));
    const host = { network: destination, length: HOST };
    routes.push({ destination: ofClass.network === destination ? ofClass : host, gateway });
  }
  return routes;
}

/** The prefix length of classes A, B and C: what an address without a mask has. */
export function classPrefixLength(address: Ipv4): PrefixLength {
  const first = address >>> 24;
  if (first < 128) return CLASS_A;
  return first < 192 ? CLASS_B : CLASS_C;
}

/** What a host calls its own on a link. */
export interface OwnAddress {
  readonly address: Ipv4;
  readonly prefixLength: PrefixLength;
}

/**
 * Whether a route can be used by the holder of `own`: towards neither loopback, multicast nor
 * reserved networks, and by a gateway that a host may have and that is not ourselves.
 */
export function isUsableRoute({ destination, gateway }: LeaseRoute, own: OwnAddress): boolean {
  const first = destination.network >>> 24;
  // Inside 0/8 nothing can be reached, but 0/0 and 0/1 are wider than it.
  const isUnreachable = first === 127 || first >= 224 || (first === 0 && destination.length >= 8);
  return !isUnreachable && (gateway === undefined || isUsableGateway(gateway, own));
}

/** The kernel takes no route by the network or broadcast address of a prefix on the link. */
export function isUsableGateway(gateway: Ipv4, { address, prefixLength }: OwnAddress): boolean {
  if (!isHostUnicast(gateway) || gateway === address) return false;
  const isInside = prefixContains(networkOf(address, prefixLength), gateway);
  return !(isInside && isNetworkOrBroadcast(gateway, prefixLength));
}

function constantLength(length: number): PrefixLength {
  const checked = prefixLengthFromNumber(length);
  if (checked === undefined) throw new RangeError(`Not a prefix length: ${length}`);
  return checked;
}
