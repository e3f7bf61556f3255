import * as net from "@mnm/proto/net";
import { formatAddress, formatLink, parseLink } from "netlink/dist/rt/gen_structs.js";
import { getMap, getString } from "netlink/dist/structs.js";
import type { RouteSocket } from "./route-socket.js";

/** A link as the kernel has it at this moment. */
export interface KernelLink {
  readonly ifindex: number;
  readonly name: string;
  /** Hardware address; empty where the link has none. */
  readonly mac: Uint8Array;
  /** ARPHRD_*. */
  readonly hardware: number;
  readonly isLoopback: boolean;
  readonly isPointToPoint: boolean;
}

/** An IPv4 address of a link as the kernel has it. */
export interface KernelAddress {
  readonly ifindex: number;
  readonly address: net.Ipv4;
  /** The other end on a point-to-point link, else the address itself. */
  readonly peer: net.Ipv4;
  /** The connected prefix: that of the peer. */
  readonly prefix: net.Ipv4Prefix;
  readonly broadcast: net.Ipv4 | undefined;
  /** IFA_PROTO; 0 where nobody said. */
  readonly protocol: number;
}

/** What the checks may ask about the kernel. Throws HelperError when the kernel does not answer. */
export interface Facts {
  link(ifindex: number): KernelLink | undefined;
  /** The addresses of all links. */
  addresses(): readonly KernelAddress[];
}

/**
 * Facts as of one batch: looked up when first asked for, and kept no longer, since an ifindex
 * may be another link's a moment later.
 */
export class BatchFacts implements Facts {
  readonly #socket: RouteSocket;
  readonly #links = new Map<number, KernelLink | undefined>();
  #addresses: readonly KernelAddress[] | undefined;

  constructor(socket: RouteSocket) {
    this.#socket = socket;
  }

  link(ifindex: number): KernelLink | undefined {
    // From 1, and an int in the kernel: outside of that there is no link, whatever it would say.
    if (ifindex < 1 || ifindex > 0x7fff_ffff) return undefined;
    if (!this.#links.has(ifindex)) {
      const request = [formatLink({ index: ifindex })];
      const payload = this.#socket.lookup(RTM_GETLINK, request, "ENODEV");
      this.#links.set(ifindex, payload === undefined ? undefined : parseKernelLink(payload));
    }
    return this.#links.get(ifindex);
  }

  addresses(): readonly KernelAddress[] {
    this.#addresses ??= this.#socket
      .dump(RTM_GETADDR, [formatAddress({ family: AF_INET })])
      .flatMap((payload) => parseKernelAddress(payload) ?? []);
    return this.#addresses;
  }

  /** An address was put or deleted: the next question is answered by the kernel again. */
  forgetAddresses(): void {
    this.#addresses = undefined;
  }
}

/** Reads the payload of RTM_NEWLINK; only what the checks need. */
export function parseKernelLink(payload: Buffer): KernelLink {
  const { index = 0, flags = {} } = parseLink(payload.subarray(0, 16));
  const attributes = getMap(payload.subarray(16), (data) => data);
  const name = attributes.get(IFLA_IFNAME);
  return {
    ifindex: index,
    name: name === undefined ? "" : getString(name),
    mac: attributes.get(IFLA_ADDRESS) ?? new Uint8Array(0),
    // Not from parseLink(), which yields a name where it knows one.
    hardware: payload.readUInt16LE(2),
    isLoopback: flags.loopback === true,
    isPointToPoint: flags.pointopoint === true,
  };
}

/** Reads the payload of RTM_NEWADDR. Undefined when it is no IPv4 address. */
export function parseKernelAddress(payload: Buffer): KernelAddress | undefined {
  // struct ifaddrmsg: family, prefix length, flags, scope, ifindex.
  const length = net.prefixLengthFromNumber(payload.readUInt8(1));
  const attributes = getMap(payload.subarray(8), (data) => data);
  const ipv4 = (type: number): net.Ipv4 | undefined => {
    const data = attributes.get(type);
    return data?.length === 4 ? net.ipv4FromUint32(data.readUInt32BE(0)) : undefined;
  };
  // IFA_ADDRESS is the peer, or the address itself; only IFA_LOCAL is always the address.
  const address = ipv4(IFA.LOCAL);
  if (address === undefined || length === undefined) return undefined;
  const peer = ipv4(IFA.ADDRESS) ?? address;
  return {
    ifindex: payload.readUInt32LE(4),
    address,
    peer,
    prefix: net.networkOf(peer, length),
    broadcast: ipv4(IFA.BROADCAST),
    protocol: attributes.get(IFA.PROTO)?.readUInt8(0) ?? 0,
  };
}

const AF_INET = 2;
const RTM_GETLINK = 18;
const RTM_GETADDR = 22;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
/** Of these `netlink` does not know PROTO, the owner's mark. Linux 5.18. */
export const IFA = {
  ADDRESS: 1,
  LOCAL: 2,
  BROADCAST: 4,
  CACHEINFO: 6,
  FLAGS: 8,
  PROTO: 11,
} as const;
