/** Code and operand of an instruction, and what follows from its comparison. */
export type Instruction = readonly [
  code: number,
  k: number,
  follows?: "reject-if" | "reject-unless" | "accept-if",
];

export const LD = { W: 0x20, H: 0x28, B: 0x30, LENGTH: 0x80 } as const;
export const ALU = { SUB: 0x14, AND: 0x54 } as const;
export const JUMP = { EQ: 0x15, GT: 0x25, GE: 0x35, SET: 0x45 } as const;
export const RET = 0x06;
// SKF_AD_OFF: what the kernel knows of the packet beside its bytes. linux/filter.h
const PACKET_TYPE = 0xffff_f004;
const VLAN_TAG_PRESENT = 0xffff_f030;

/** How every filter begins: untagged, and sent to us. */
export const FOR_US: readonly Instruction[] = [
  [LD.W, VLAN_TAG_PRESENT],
  [JUMP.EQ, 0, "reject-unless"],
  // To us, to all or multicast (2); neither another station's nor what we sent ourselves.
  [LD.W, PACKET_TYPE],
  [JUMP.GT, 2, "reject-if"],
];

/**
 * Classic BPF, an array of struct sock_filter, for packets without their link-layer header. What
 * gets to the end of the program is accepted, and cut to `most` bytes. A load beyond the end of
 * the packet rejects it.
 */
export function assemble(program: readonly Instruction[], most: number): Buffer {
  const whole: readonly Instruction[] = [...program, [RET, most], [RET, 0]];
  const encoded = whole.map(([code, k, follows], at) => {
    const bytes = Buffer.alloc(8);
    const toReject = whole.length - at - 2;
    bytes.writeUInt16LE(code, 0);
    if (follows === "accept-if") bytes[2] = toReject - 1;
    if (follows === "reject-if") bytes[2] = toReject;
    if (follows === "reject-unless") bytes[3] = toReject;
    bytes.writeUInt32LE(k, 4);
    return bytes;
  });
  return Buffer.concat(encoded);
}
