import { ALU, assemble, FOR_US, JUMP, LD } from "./bpf.js";

// Relative to the end of the IP header, which LDX_MSH computes.
const LD_UDP = { W: 0x40, H: 0x48, B: 0x50 } as const;
const LDX_MSH = 0xb1;

/** Accepts what a DHCP server sends to a client on this link, and nothing else. */
export const DHCP_FILTER: Buffer = assemble(
  [
    ...FOR_US,
    [LD.B, 0],
    [ALU.AND, 0xf0],
    [JUMP.EQ, 0x40, "reject-unless"],
    [LD.B, 9],
    [JUMP.EQ, 17, "reject-unless"],
    // More fragments, or an offset.
    [LD.H, 6],
    [JUMP.SET, 0x3fff, "reject-if"],
    [LDX_MSH, 0],
    [LD_UDP.H, 2],
    [JUMP.EQ, 68, "reject-unless"],
    // BOOTREPLY, and the magic cookie of DHCP behind the 236 bytes of BOOTP.
    [LD_UDP.B, 8],
    [JUMP.EQ, 2, "reject-unless"],
    [LD_UDP.W, 8 + 236],
    [JUMP.EQ, 0x6382_5363, "reject-unless"],
  ],
  0xffff,
);
