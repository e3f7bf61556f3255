/** Code and operand of an instruction, and whether its comparison's outcome is to reject. */
type Instruction = readonly [code: number, k: number, reject?: "if" | "unless"];

const LD = { W: 0x20, H: 0x28, B: 0x30 } as const;
// Relative to the end of the IP header, which LDX_MSH computes.
const LD_UDP = { W: 0x40, H: 0x48, B: 0x50 } as const;
const LDX_MSH = 0xb1;
const JEQ = 0x15;
const JGT = 0x25;
const JSET = 0x45;
const AND = 0x54;
const RET = 0x06;
// SKF_AD_OFF: what the kernel knows of the packet beside its bytes. linux/filter.h
const PACKET_TYPE = 0xffff_f004;
const VLAN_TAG_PRESENT = 0xffff_f030;

const PROGRAM: readonly Instruction[] = [
  [LD.W, VLAN_TAG_PRESENT],
  [JEQ, 0, "unless"],
  // To us, to all or multicast (2); neither another station's nor what we sent ourselves.
  [LD.W, PACKET_TYPE],
  [JGT, 2, "if"],
  [LD.B, 0],
  [AND, 0xf0],
  [JEQ, 0x40, "unless"],
  [LD.B, 9],
  [JEQ, 17, "unless"],
  // More fragments, or an offset.
  [LD.H, 6],
  [JSET, 0x3fff, "if"],
  [LDX_MSH, 0],
  [LD_UDP.H, 2],
  [JEQ, 68, "unless"],
  // BOOTREPLY, and the magic cookie of DHCP behind the 236 bytes of BOOTP.
  [LD_UDP.B, 8],
  [JEQ, 2, "unless"],
  [LD_UDP.W, 8 + 236],
  [JEQ, 0x6382_5363, "unless"],
  [RET, 0xffff],
  [RET, 0],
];

/**
 * Accepts what a DHCP server sends to a client on this link, and nothing else: classic BPF, an
 * array of struct sock_filter, over a packet from its IP header on. A load beyond the end of the
 * packet rejects it.
 */
export const DHCP_FILTER: Uint8Array = Buffer.concat(
  PROGRAM.map(([code, k, reject], at) => {
    const bytes = Buffer.alloc(8);
    const toReject = PROGRAM.length - at - 2;
    bytes.writeUInt16LE(code, 0);
    bytes[2] = reject === "if" ? toReject : 0;
    bytes[3] = reject === "unless" ? toReject : 0;
    bytes.writeUInt32LE(k, 4);
    return bytes;
  }),
);
