import type { LinkRef, Prefix4 } from "@mnm/proto/helper";
import * as net from "@mnm/proto/net";
import { type AllowList, isAllowedName } from "../allow-list.js";
import type { Facts, KernelFacts, KernelLink } from "../facts.js";
import { demand } from "../fault.js";
import type { RouteSocket } from "../route-socket.js";

/** A link that the caller named rightly and that this helper may touch. */
export type CheckedLink = net.Branded<KernelLink, "CheckedLink">;

/** What every check goes by, beside the request itself. All checks throw HelperError. */
export interface CheckContext {
  readonly allow: AllowList;
  readonly facts: Facts;
}

/** What an operation needs beside its request; it checks that first, and then writes. */
export interface OperationContext extends CheckContext {
  readonly facts: KernelFacts;
  readonly socket: RouteSocket;
}

/**
 * The link that the caller means. An ifindex alone could be another link's by now: the kernel
 * gives a bridge the number of a deleted link.
 */
export function checkLink(ref: LinkRef | undefined, { allow, facts }: CheckContext): CheckedLink {
  demand(ref !== undefined, "malformed", "link", "present");
  const link = facts.link(ref.ifindex);
  demand(link !== undefined, "link-mismatch", "ifindex", "that of a link");
  demand(link.name === ref.name, "link-mismatch", "name", `that of the link, ${link.name}`);
  // A hardware address of another length, such as a tunnel's, is none that a caller can name.
  const mac = link.mac.length === 6 ? link.mac : new Uint8Array(0);
  demand(ref.mac.equals(mac), "link-mismatch", "mac", "that of the link");
  const must = `one of ${allow.links.join(" ")}, and not lo`;
  demand(isAllowedLink(link, allow), "not-permitted", "link", must);
  return link as CheckedLink;
}

/** By the flag as well, because `lo` can be renamed. */
export function isAllowedLink(link: KernelLink, allow: AllowList): boolean {
  return !link.isLoopback && isAllowedName(allow, link.name);
}

export function isEthernet(link: KernelLink): boolean {
  return link.hardware === ARPHRD_ETHER && link.mac.length === 6;
}

export function isOwnTable({ tables: [first, last] }: AllowList, table: number): boolean {
  return table >= first && table <= last;
}

export function checkTable(allow: AllowList, table: number): number {
  demand(isOwnTable(allow, table), "not-permitted", "table", allow.tables.join(" to "));
  return table;
}

/** A prefix without host bits. */
export function checkPrefix(field: string, prefix: Prefix4 | undefined): net.Ipv4Prefix {
  const length = net.prefixLengthFromNumber(prefix?.length ?? -1);
  demand(length !== undefined, "malformed", field, "a prefix of length 0 to 32");
  const checked = net.networkOf(net.ipv4FromUint32(prefix?.network ?? 0), length);
  demand(checked.network === prefix?.network, "malformed", field, "without host bits");
  return checked;
}

export function isSamePrefix(one: Prefix4, other: Prefix4 | undefined): boolean {
  return one.network === other?.network && one.length === other.length;
}

/** An address that a host may have. */
export function checkUnicast(field: string, value: number): net.Ipv4 {
  const address = net.ipv4FromUint32(value);
  const must = "unicast: not in 0/8, 127/8, 224/4 or 240/4";
  demand(net.isHostUnicast(address), "not-permitted", field, must);
  return address;
}

/** An address that the link has at this moment. */
export function checkOwn(field: string, value: number, link: CheckedLink, { facts }: CheckContext) {
  const own = facts.addressesOf(link.ifindex).find(({ address }) => address === value);
  demand(own !== undefined, "not-permitted", field, `an address of ${link.name}`);
  return own.address;
}

/**
 * Refuses an address that a link holds or covers which this helper may not touch: taking it
 * would cut off that link's own host, or its neighbours.
 */
export function checkNotTaken(field: string, address: net.Ipv4, context: CheckContext): void {
  for (const other of context.facts.addresses()) {
    if (other.address !== address && !net.prefixContains(other.prefix, address)) continue;
    const holder = context.facts.link(other.ifindex);
    if (holder === undefined) continue;
    const isAllowed = isAllowedLink(holder, context.allow);
    demand(isAllowed, "not-permitted", field, `outside of what ${holder.name} holds`);
  }
}

const ARPHRD_ETHER = 1;
