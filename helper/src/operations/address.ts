import type { DeleteAddress, PutAddress } from "@mnm/proto/helper";
import * as net from "@mnm/proto/net";
import { formatAddress, formatAddressAttrs, MessageType } from "netlink/dist/rt/gen_structs.js";
import { putU8, putU32be } from "netlink/dist/structs.js";
import { MNM_PROTOCOL } from "../allow-list.js";
import { type Facts, IFA, type KernelAddress } from "../facts.js";
import { demand, foreign, kernelRefused } from "../fault.js";
import * as netlink from "../route-socket.js";
import { AF_INET } from "../sys.js";
import * as check from "./check.js";

/** As many addresses of ours as one link may have. */
const MOST_ADDRESSES = 16;

export function checkPutAddress(request: PutAddress, context: check.CheckContext) {
  const { broadcast, peer, validSec } = request;
  const link = check.checkLink(request.link, context);
  const address = check.checkUnicast("address", request.address);
  const length = lengthOf(request);
  const isHost = !net.isNetworkOrBroadcast(address, length);
  demand(isHost, "malformed", "address", "neither the first nor the last of its prefix");
  // Any other broadcast address would become an address of this host: with `brd 8.8.8.8` it
  // takes 8.8.8.8 away from every program (tried).
  const last = length <= 30 ? net.lastOf(net.networkOf(address, length)) : undefined;
  const isOwnBroadcast = broadcast === undefined || (broadcast === last && peer === undefined);
  demand(isOwnBroadcast, "malformed", "broadcast", "absent, or the last address of the prefix");
  const mayHavePeer = peer === undefined || link.isPointToPoint;
  demand(mayHavePeer, "not-permitted", "peer", "absent but on point-to-point links");
  const checkedPeer = peer === undefined ? address : check.checkUnicast("peer", peer);
  check.checkNotTaken("address", address, context);
  // The last address of the connected prefix, which is the peer's, becomes a broadcast address
  // whether it is asked for or not (fib_add_ifaddr in net/ipv4/fib_frontend.c; tried).
  const connected = net.networkOf(checkedPeer, length);
  if (length <= 30) check.checkNotTaken("prefix_length", net.lastOf(connected), context);
  demand(validSec >= 1, "malformed", "valid_sec", "at least 1");
  // The same number with another prefix or peer is another address to the kernel, and would be
  // one more: without end, as there is no end of peers.
  const isOther = ({ protocol, address: of, prefix }: KernelAddress) =>
    protocol === MNM_PROTOCOL && !(of === address && check.isSamePrefix(prefix, connected));
  const others = context.facts.addressesOf(link.ifindex).filter(isOther).length;
  demand(others < MOST_ADDRESSES, "not-permitted", "address", `one of ${MOST_ADDRESSES} at most`);
  return { link, address, length, broadcast, peer: checkedPeer, validSec };
}

/**
 * Creates the address, or gives the one of ours that is there the new lifetime.
 *
 * The look between EEXIST and NLM_F_REPLACE is needed: the kernel replaces a foreign address
 * without a word (tried).
 */
export function putAddress(request: PutAddress, context: check.OperationContext): void {
  const { link, address, length, broadcast, peer, validSec } = checkPutAddress(request, context);
  const { socket, facts } = context;
  const payload = [
    formatAddress({ family: AF_INET, prefixlen: length, index: link.ifindex }),
    formatAddressAttrs({
      local: putU32be(address),
      address: putU32be(peer),
      ...(broadcast !== undefined && { broadcast: putU32be(broadcast) }),
      cacheInfo: { ifaPrefered: validSec, ifaValid: validSec },
      // Or the kernel adds a connected route in main, which races with those of other uplinks.
      flags: { noprefixroute: true },
    }),
    netlink.attribute(IFA.PROTO, putU8(MNM_PROTOCOL)),
  ];
  if (socket.change(MessageType.NEWADDR, netlink.CREATE_EXCL, payload, "EEXIST")) return;
  const holders = findOurs(facts, { ifindex: link.ifindex, address, length });
  // NLM_F_REPLACE changes lifetimes and nothing else (inet_rtm_newaddr in net/ipv4/devinet.c),
  // so that another broadcast address would be answered with success and stay.
  if (holders.some((held) => held.broadcast !== broadcast)) {
    throw kernelRefused(-EEXIST, "The address is there with another broadcast address");
  }
  socket.change(MessageType.NEWADDR, netlink.REPLACE, payload);
}

/** Finds what is to be deleted; an empty list when there is nothing, which is no fault. */
export function checkDeleteAddress(request: DeleteAddress, context: check.CheckContext) {
  const { ifindex } = check.checkLink(request.link, context);
  const address = net.ipv4FromUint32(request.address);
  return findOurs(context.facts, { ifindex, address, length: lengthOf(request) });
}

export function deleteAddress(request: DeleteAddress, context: check.OperationContext): void {
  // Several when peers differ.
  for (const held of checkDeleteAddress(request, context)) removeAddress(held, context);
}

/** Removes an address that the kernel was seen to hold; by its peer too, or it might be another. */
export function removeAddress(
  { ifindex, address, peer, prefix }: KernelAddress,
  { socket }: Pick<check.OperationContext, "socket">,
): void {
  const payload = [
    formatAddress({ family: AF_INET, prefixlen: prefix.length, index: ifindex }),
    formatAddressAttrs({ local: putU32be(address), address: putU32be(peer) }),
  ];
  // It may have expired since the look.
  socket.change(MessageType.DELADDR, 0, payload, "EADDRNOTAVAIL");
}

function lengthOf({ prefixLength }: PutAddress | DeleteAddress): net.PrefixLength {
  const length = net.prefixLengthFromNumber(prefixLength);
  demand(length !== undefined && length >= 1, "malformed", "prefix_length", "1 to 32");
  return length;
}

/** The addresses that the kernel would take for this one, provided that all are ours. */
function findOurs(
  facts: Facts,
  key: { readonly ifindex: number; readonly address: net.Ipv4; readonly length: number },
): readonly KernelAddress[] {
  const held = facts
    .addressesOf(key.ifindex)
    .filter((one) => one.address === key.address && one.prefix.length === key.length);
  const other = held.find(({ protocol }) => protocol !== MNM_PROTOCOL);
  if (other !== undefined) throw foreign(other.protocol);
  return held;
}

const EEXIST = 17;
