/** A number that a packet holds, in network byte order. Those of `udp` count from the UDP header on. */
const LOADS = {
  u8: 0x30,
  u16: 0x28,
  u32: 0x20,
  length: 0x80,
  udp8: 0x50,
  udp16: 0x48,
  udp32: 0x40,
};

const JUMP = { EQUAL: 0x15, GREATER: 0x25, REACHES: 0x35, HAS_BITS: 0x45 };

/** Where a comparison leads when it holds, and when it does not. */
const TESTS = {
  "must-be": { jump: JUMP.EQUAL, leads: ["next", "reject"] },
  "must-reach": { jump: JUMP.REACHES, leads: ["next", "reject"] },
  "must-not-exceed": { jump: JUMP.GREATER, leads: ["reject", "next"] },
  "must-not-have": { jump: JUMP.HAS_BITS, leads: ["reject", "next"] },
  "accept-if": { jump: JUMP.EQUAL, leads: ["accept", "next"] },
} as const;

/**
 * One look at a packet: which number, at which offset from the end of its link-layer header, and what
 * it is compared with (`must-not-have`: bits). A number that lies beyond the end of the packet
 * rejects it.
 */
export type FilterStep = readonly [
  load: keyof typeof LOADS,
  offset: number,
  test: keyof typeof TESTS,
  value: number,
];

/** SKF_AD_OFF of linux/filter.h: what the kernel knows of a packet beside its bytes. */
export const ANCILLARY = { PACKET_TYPE: 0xffff_f004, VLAN_TAG_PRESENT: 0xffff_f030 } as const;

/**
 * A classic BPF program, an array of struct sock_filter of a little-endian machine, for packets
 * without their link-layer header. What is accepted is cut to `most` bytes.
 */
export function assembleFilter(
  steps: readonly FilterStep[],
  options: { readonly most: number; readonly atEnd: "accept" | "reject" },
): Uint8Array {
  const size = 1 + 2 * steps.length;
  // Behind the steps: what becomes of who came to the end, then accepted, then rejected.
  const ends = { accept: size + 1, reject: size + 2 };
  if (ends.reject > 0xff) throw new RangeError(`${steps.length} steps are too many for a jump`);
  const bytes = new DataView(new ArrayBuffer((ends.reject + 1) * 8));
  const put = (at: number, code: number, k: number, jumps = [0, 0]): void => {
    bytes.setUint16(at * 8, code, true);
    for (const [index, jump] of jumps.entries()) bytes.setUint8(at * 8 + 2 + index, jump);
    bytes.setUint32(at * 8 + 4, k, true);
  };
  // The length of an IPv4 header, where UDP begins; of no matter to a packet of another kind.
  put(0, LDX_MSH, 0);
  for (const [index, [load, offset, test, value]] of steps.entries()) {
    const at = 1 + 2 * index;
    const { jump, leads } = TESTS[test];
    put(at, LOADS[load], offset);
    // Relative to the instruction behind the jump.
    const jumps = leads.map((to) => (to === "next" ? 0 : ends[to] - (at + 2)));
    put(at + 1, jump, value, jumps);
  }
  put(size, RETURN, options.atEnd === "accept" ? options.most : 0);
  put(ends.accept, RETURN, options.most);
  put(ends.reject, RETURN, 0);
  return new Uint8Array(bytes.buffer);
}

const LDX_MSH = 0xb1;
const RETURN = 0x06;
