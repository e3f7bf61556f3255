import type { Ipv4 } from "@mnm/proto/net";
import { ALU, assemble, FOR_US, type Instruction, JUMP, LD, RET } from "./bpf.js";

/** Bytes of an ARP packet for IPv4 on Ethernet; what a short frame is filled up with is cut. */
const ARP_LENGTH = 28;

/**
 * Accepts the ARP packets that say something of the watched addresses, and nothing else: sent
 * from one of them, or a probe for one of them (RFC 5227 §1.1).
 */
export function arpFilter(watched: readonly Ipv4[]): Buffer {
  const isWatched = watched.map((address): Instruction => [JUMP.EQ, address, "accept-if"]);
  return assemble(
    [
      ...FOR_US,
      // Or a sender that is watched would let a packet pass that ends behind it.
      [LD.LENGTH, 0],
      [JUMP.GE, ARP_LENGTH, "reject-unless"],
      // IPv4 on Ethernet, with addresses of six and four bytes.
      [LD.W, 0],
      [JUMP.EQ, 0x0001_0800, "reject-unless"],
      [LD.H, 4],
      [JUMP.EQ, 0x0604, "reject-unless"],
      // A request (1) or a reply (2).
      [LD.H, 6],
      [ALU.SUB, 1],
      [JUMP.GT, 1, "reject-if"],
      // The sender's address, and the target's.
      [LD.W, 14],
      ...isWatched,
      [JUMP.EQ, 0, "reject-unless"],
      [LD.W, 24],
      ...isWatched,
      [RET, 0],
    ],
    ARP_LENGTH,
  );
}
