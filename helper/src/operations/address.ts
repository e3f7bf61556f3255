import type { DeleteAddress, PutAddress } from "@mnm/proto/helper";
import * as net from "@mnm/proto/net";
import { formatAddress, formatAddressCacheInfo } from "netlink/dist/rt/gen_structs.js";
import type { StreamData } from "netlink/dist/structs.js";
import { MNM_PROTOCOL } from "../allow-list.js";
import { type Facts, IFA, type KernelAddress } from "../facts.js";
import { demand, HelperError } from "../fault.js";
import * as netlink from "../route-socket.js";
import { u32 } from "../sys.js";
import * as check from "./check.js";

/** An address that passed {@link checkPutAddress}. */
export type CheckedAddress = net.Branded<
  {
    readonly link: check.CheckedLink;
    readonly address: net.Ipv4;
    readonly length: net.PrefixLength;
    readonly broadcast: net.Ipv4 | undefined;
    readonly peer: net.Ipv4 | undefined;
    readonly validSec: number;
  },
  "CheckedAddress"
>;

/** Addresses of ours that passed {@link checkDeleteAddress}; several when peers differ. */
export type CheckedDelete = net.Branded<readonly KernelAddress[], "CheckedDelete">;

/** As many addresses of ours as one link may have. */
const MOST_ADDRESSES = 16;

export function checkPutAddress(request: PutAddress, context: check.CheckContext): CheckedAddress {
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
  const checkedPeer = peer === undefined ? undefined : check.checkUnicast("peer", peer);
  check.checkNotTaken("address", address, context);
  demand(validSec >= 1, "malformed", "valid_sec", "at least 1");
  const isOther = (held: KernelAddress) =>
    held.protocol === MNM_PROTOCOL && held.address !== address;
  const others = check.addressesOf(link, context.facts).filter(isOther).length;
  demand(others < MOST_ADDRESSES, "not-permitted", "address", `one of ${MOST_ADDRESSES} at most`);
  const checked = { link, address, length, validSec, peer: checkedPeer };
  return { ...checked, broadcast: broadcast === undefined ? undefined : last } as CheckedAddress;
}

/**
 * Creates the address, or gives the one of ours that is there the new lifetime.
 *
 * The look between EEXIST and NLM_F_REPLACE is needed: the kernel replaces a foreign address
 * without a word (tried).
 */
export function putAddress(
  socket: netlink.RouteSocket,
  facts: Facts,
  { link, address, length, broadcast, peer = address, validSec }: CheckedAddress,
): void {
  const payload = [
    formatAddress({ family: AF_INET, prefixlen: length, index: link.ifindex }),
    netlink.attributes([
      [IFA.LOCAL, net.ipv4ToBytes(address)],
      [IFA.ADDRESS, net.ipv4ToBytes(peer)],
      [IFA.BROADCAST, broadcast === undefined ? undefined : net.ipv4ToBytes(broadcast)],
      [IFA.CACHEINFO, formatAddressCacheInfo({ ifaPrefered: validSec, ifaValid: validSec })],
      // Or the kernel adds a connected route in main, which races with those of other uplinks.
      [IFA.FLAGS, u32(IFA_F_NOPREFIXROUTE)],
      [IFA.PROTO, Uint8Array.of(MNM_PROTOCOL)],
    ]),
  ];
  if (socket.change(RTM_NEWADDR, netlink.NLM_F_CREATE_EXCL, payload, "EEXIST")) return;
  const holders = findOurs(facts, { ifindex: link.ifindex, address, length });
  // NLM_F_REPLACE changes lifetimes and nothing else (inet_rtm_newaddr in net/ipv4/devinet.c),
  // so that another broadcast address would be answered with success and stay.
  if (holders.some((held) => held.broadcast !== broadcast)) {
    const kernelText = "The address is there with another broadcast address";
    throw new HelperError({ code: "kernel-refused", errno: "EEXIST", kernelText });
  }
  socket.change(RTM_NEWADDR, netlink.NLM_F_REPLACE, payload);
}

/** Finds what is to be deleted; an empty list when there is nothing, which is no fault. */
export function checkDeleteAddress(
  request: DeleteAddress,
  context: check.CheckContext,
): CheckedDelete {
  const { ifindex } = check.checkLink(request.link, context);
  const address = net.ipv4FromUint32(request.address);
  const length = lengthOf(request);
  return findOurs(context.facts, { ifindex, address, length }) as CheckedDelete;
}

export function deleteAddress(socket: netlink.RouteSocket, checked: CheckedDelete): void {
  for (const { ifindex, address, peer, prefix } of checked) {
    const payload: StreamData[] = [
      formatAddress({ family: AF_INET, prefixlen: prefix.length, index: ifindex }),
      netlink.attributes([
        [IFA.LOCAL, net.ipv4ToBytes(address)],
        [IFA.ADDRESS, net.ipv4ToBytes(peer)],
      ]),
    ];
    // It may have expired since the look.
    socket.change(RTM_DELADDR, 0, payload, "EADDRNOTAVAIL");
  }
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
  const held = facts.addresses().filter((one) => {
    const isSame = one.ifindex === key.ifindex && one.address === key.address;
    return isSame && one.prefix.length === key.length;
  });
  const foreign = held.find(({ protocol }) => protocol !== MNM_PROTOCOL);
  if (foreign === undefined) return held;
  throw new HelperError({ code: "foreign", protocol: foreign.protocol });
}

const AF_INET = 2;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const IFA_F_NOPREFIXROUTE = 0x200;
