import { ANCILLARY, assembleFilter, type FilterStep, type Ipv4 } from "@mnm/proto/net";

/** How every filter begins. */
const FOR_US: readonly FilterStep[] = [
  ["u32", ANCILLARY.VLAN_TAG_PRESENT, "must-be", 0],
  // To us, to all or multicast (2); neither another station's nor what we sent ourselves.
  ["u32", ANCILLARY.PACKET_TYPE, "must-not-exceed", 2],
];

/** Accepts what a DHCP server sends to a client on this link, and nothing else. */
export const DHCP_FILTER: Buffer = Buffer.from(
  assembleFilter(
    [
      ...FOR_US,
      // IPv4, UDP.
      ["u8", 0, "must-reach", 0x40],
      ["u8", 0, "must-not-exceed", 0x4f],
      ["u8", 9, "must-be", 17],
      // More fragments, or an offset.
      ["u16", 6, "must-not-have", 0x3fff],
      ["udp16", 2, "must-be", 68],
      // BOOTREPLY, and the magic cookie of DHCP behind the 236 bytes of BOOTP.
      ["udp8", 8, "must-be", 2],
      ["udp32", 8 + 236, "must-be", 0x6382_5363],
    ],
    { most: 0xffff, atEnd: "accept" },
  ),
);

/** Bytes of an ARP packet for IPv4 on Ethernet; what a short frame is filled up with is cut. */
const ARP_LENGTH = 28;

/**
 * Accepts the ARP packets that say something of the watched addresses, and nothing else: sent
 * from one of them, or a probe for one of them (RFC 5227 §1.1).
 */
export function arpFilter(watched: readonly Ipv4[]): Buffer {
  const acceptIfWatched = (offset: number) =>
    watched.map((address): FilterStep => ["u32", offset, "accept-if", address]);
  const steps: readonly FilterStep[] = [
    ...FOR_US,
    // Or a sender that is watched would let a packet pass that ends behind it.
    ["length", 0, "must-reach", ARP_LENGTH],
    // IPv4 on Ethernet, with addresses of six and four bytes.
    ["u32", 0, "must-be", 0x0001_0800],
    ["u16", 4, "must-be", 0x0604],
    // A request (1) or a reply (2).
    ["u16", 6, "must-reach", 1],
    ["u16", 6, "must-not-exceed", 2],
    // The sender's address, and the target's.
    ...acceptIfWatched(14),
    ["u32", 14, "must-be", 0],
    ...acceptIfWatched(24),
  ];
  return Buffer.from(assembleFilter(steps, { most: ARP_LENGTH, atEnd: "reject" }));
}
