/**
 * The Internet checksum of RFC 1071 over the concatenation of `parts`, as an unsigned 16-bit
 * number. Over data that includes a correct checksum the answer is 0.
 */
export function internetChecksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  let odd = false;
  for (const part of parts) {
    for (const byte of part) {
      sum += odd ? byte : byte << 8;
      odd = !odd;
    }
  }
  // A packet is at most 64 KiB, so the sum stays far below 2^53.
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}
