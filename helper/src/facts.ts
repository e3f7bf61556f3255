import * as net from "@mnm/proto/net";
import {
  formatAddress,
  formatLink,
  formatRoute,
  formatRouteAttrs,
  MessageType,
  parseLink,
} from "netlink/dist/rt/gen_structs.js";
import { getString } from "netlink/dist/structs.js";
import { MNM_PROTOCOL } from "./allow-list.js";
import type { RouteSocket } from "./route-socket.js";
import { AF_INET } from "./sys.js";

/** What the checks may ask about the kernel. Throws HelperError when the kernel does not answer. */
export type Facts = Pick<KernelFacts, "link" | "addresses" | "addressesOf" | "ownRoutesBy">;

/** What the kernel holds, asked of it when somebody wants to know. */
export class KernelFacts {
  readonly #socket: RouteSocket;
  #addresses: readonly KernelAddress[] | undefined;

  constructor(socket: RouteSocket) {
    this.#socket = socket;
  }

  link(ifindex: number): KernelLink | undefined {
    // From 1, and an int in the kernel: outside of that there is no link, whatever it would say.
    if (ifindex < 1 || ifindex > 0x7fff_ffff) return undefined;
    const request = [formatLink({ index: ifindex })];
    const payload = this.#socket.lookup(MessageType.GETLINK, request, "ENODEV");
    return payload === undefined ? undefined : parseKernelLink(payload);
  }

  /**
   * The addresses of all links, as of the first question: in a batch of a hundred addresses each
   * one would list all others. What the batch itself changes is on links that it may touch.
   */
  addresses(): readonly KernelAddress[] {
    this.#addresses ??= this.addressesOf(EVERY_LINK);
    return this.#addresses;
  }

  /** The addresses of one link, now; the kernel leaves out those of the others. */
  addressesOf(ifindex: number): readonly KernelAddress[] {
    return this.#socket
      .dump(MessageType.GETADDR, [formatAddress({ family: AF_INET, index: ifindex })])
      .flatMap((payload) => parseKernelAddress(payload) ?? []);
  }

  /** The routes of protocol 77 that leave by this link, in all tables. */
  ownRoutesBy(ifindex: number): readonly KernelRoute[] {
    return dumpRoutes(this.#socket, { protocol: MNM_PROTOCOL, oif: ifindex });
  }
}

/** An IPv4 route as the kernel has it. */
export type KernelRoute = Readonly<ReturnType<typeof dumpRoutes>[number]>;

/**
 * The routes of a protocol or in a table; the kernel leaves out the others. Of a table they come by
 * ascending network (fn_trie_dump in net/ipv4/fib_trie.c), and those after `last` are left unread.
 */
export function dumpRoutes(
  socket: RouteSocket,
  wanted: { readonly protocol?: number; readonly table?: number; readonly oif?: number },
  last = 0xffff_ffff,
) {
  const { protocol = 0, ...filter } = wanted;
  const isPast = (payload: Buffer) => destinationOf(attributesOf(payload, 12)) > last;
  const request = [formatRoute({ family: AF_INET, protocol }), formatRouteAttrs(filter)];
  return socket.dump(MessageType.GETROUTE, request, isPast).map((payload) => {
    // struct rtmsg: family, destination length, source length, TOS, table, protocol, scope, type.
    const attributes = attributesOf(payload, 12);
    return {
      payload,
      type: payload.readUInt8(7),
      length: payload.readUInt8(1),
      tos: payload.readUInt8(3),
      protocol: payload.readUInt8(5),
      // What is absent is 0, or there are several.
      table: attributes(RTA.TABLE)?.readUInt32LE(0) ?? 0,
      network: destinationOf(attributes),
      metric: attributes(RTA.PRIORITY)?.readUInt32LE(0) ?? 0,
      ifindex: attributes(RTA.OIF)?.readUInt32LE(0) ?? 0,
      gateway: attributes(RTA.GATEWAY)?.readUInt32BE(0) ?? 0,
    };
  });
}

function destinationOf(route: Attributes): number {
  return route(RTA.DST)?.readUInt32BE(0) ?? 0;
}

/**
 * The attributes behind a header, by number. The parsers that `netlink` has for them throw at
 * some, such as RTA_VIA.
 */
function attributesOf(payload: Buffer, header: number): Attributes {
  return (wanted) => {
    // struct rtattr: length with these four bytes, type; the next one at a multiple of four.
    for (let at = header; at + 4 <= payload.length; ) {
      const length = payload.readUInt16LE(at);
      if (payload.readUInt16LE(at + 2) === wanted) return payload.subarray(at + 4, at + length);
      at += Math.max((length + 3) & ~3, 4);
    }
    return undefined;
  };
}

type Attributes = (type: number) => Buffer | undefined;

/** A link as the kernel has it at this moment. */
export type KernelLink = Readonly<ReturnType<typeof parseKernelLink>>;

/** Reads the payload of RTM_NEWLINK; only what the checks need. */
export function parseKernelLink(payload: Buffer) {
  const { index = 0, flags = {} } = parseLink(payload.subarray(0, 16));
  const attributes = attributesOf(payload, 16);
  const name = attributes(IFLA.IFNAME);
  return {
    ifindex: index,
    name: name === undefined ? "" : getString(name),
    /** Hardware address; empty where the link has none. */
    mac: attributes(IFLA.ADDRESS) ?? NOTHING,
    /** ARPHRD_*; parseLink() would yield a name where it knows one. */
    hardware: payload.readUInt16LE(2),
    isLoopback: flags.loopback === true,
    isPointToPoint: flags.pointopoint === true,
    isNoArp: flags.noarp === true,
  };
}

/** Reads the payload of RTM_NEWRULE; only what tells whose it is. */
export function parseKernelRule(payload: Buffer) {
  // struct fib_rule_hdr has twelve bytes.
  const attributes = attributesOf(payload, 12);
  return {
    /** What is absent is 0. */
    priority: attributes(FRA.PRIORITY)?.readUInt32LE(0) ?? 0,
    table: attributes(FRA.TABLE)?.readUInt32LE(0) ?? 0,
    protocol: attributes(FRA.PROTOCOL)?.readUInt8(0) ?? 0,
  };
}

/** An IPv4 address of a link as the kernel has it. */
export type KernelAddress = Readonly<NonNullable<ReturnType<typeof parseKernelAddress>>>;

/** Reads the payload of RTM_NEWADDR. Undefined when it is no IPv4 address. */
export function parseKernelAddress(payload: Buffer) {
  // struct ifaddrmsg: family, prefix length, flags, scope, ifindex.
  const length = net.prefixLengthFromNumber(payload.readUInt8(1));
  const attributes = attributesOf(payload, 8);
  const ipv4 = (type: number) => net.ipv4FromBytes(attributes(type) ?? NOTHING);
  // IFA_ADDRESS is the peer, or the address itself; only IFA_LOCAL is always the address.
  const address = ipv4(IFA.LOCAL);
  if (address === undefined || length === undefined) return undefined;
  const peer = ipv4(IFA.ADDRESS) ?? address;
  return {
    ifindex: payload.readUInt32LE(4),
    address,
    /** The other end on a point-to-point link, else the address itself. */
    peer,
    /** The connected prefix: that of the peer. */
    prefix: net.networkOf(peer, length),
    broadcast: ipv4(IFA.BROADCAST),
    /** IFA_PROTO; 0 where nobody said. */
    protocol: attributes(IFA.PROTO)?.readUInt8(0) ?? 0,
  };
}

// An ifindex that no link has.
const EVERY_LINK = 0;
const NOTHING: Uint8Array = new Uint8Array(0);
const IFLA = { ADDRESS: 1, IFNAME: 3 } as const;
const FRA = { PRIORITY: 6, TABLE: 15, PROTOCOL: 21 } as const;
const RTA = { DST: 1, OIF: 4, GATEWAY: 5, PRIORITY: 6, TABLE: 15 } as const;
/** PROTO is the owner's mark, from Linux 5.18 on. */
export const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4, PROTO: 11 } as const;
