import { err, ok, type Result } from "./result.js";

declare const brand: unique symbol;

/** A `T` that only the constructors of `Name` may produce; erased at run time. */
export type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/**
 * IPv4 address as an unsigned 32-bit number.
 *
 * A number rather than text, so that `===`, `Map` keys and masking work and no
 * two spellings of one address exist. Text appears only at the edges.
 */
export type Ipv4 = Branded<number, "Ipv4">;

/** Number of leading one bits in a netmask, 0 to 32. */
export type PrefixLength = Branded<number, "PrefixLength">;

/** A network: `network` has no bits set beyond `length`. */
export interface Ipv4Prefix {
  readonly network: Ipv4;
  readonly length: PrefixLength;
}

export type Ipv4Error =
  | { readonly code: "malformed-address"; readonly text: string }
  | { readonly code: "malformed-prefix"; readonly text: string }
  | { readonly code: "host-bits-set"; readonly text: string }
  | { readonly code: "mask-not-contiguous"; readonly mask: Ipv4 };

/** Wraps a number read off the wire; the caller guarantees it is a uint32. */
export function ipv4FromUint32(value: number): Ipv4 {
  return (value >>> 0) as Ipv4;
}

/** Parses dotted-quad text. Rejects leading zeros, which some parsers read as octal. */
export function parseIpv4(text: string): Result<Ipv4, Ipv4Error> {
  const octets = text.split(".");
  let value = 0;
  for (const octet of octets) {
    if (!/^(0|[1-9]\d{0,2})$/.test(octet) || Number(octet) > 255) {
      return err({ code: "malformed-address", text });
    }
    value = value * 256 + Number(octet);
  }
  return octets.length === 4 ? ok(value as Ipv4) : err({ code: "malformed-address", text });
}

export function formatIpv4(address: Ipv4): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
}

/** Keeps the first `length` bits of `address` and clears the rest. */
export function networkOf(address: Ipv4, length: PrefixLength): Ipv4Prefix {
  // A shift by 32 is a shift by 0 in JavaScript, so /0 needs its own case.
  const mask = length === 0 ? 0 : -1 << (32 - length);
  return { network: ipv4FromUint32(address & mask), length };
}

/** Converts a netmask such as 255.255.255.0, as DHCP option 1 carries it. */
export function prefixLengthFromMask(mask: Ipv4): Result<PrefixLength, Ipv4Error> {
  const hostBits = ~mask >>> 0;
  // Contiguous masks have host bits of the form 2^n - 1.
  if ((hostBits & (hostBits + 1)) !== 0) return err({ code: "mask-not-contiguous", mask });
  return ok(Math.clz32(hostBits) as PrefixLength);
}

/** Parses `10.0.0.0/8`. Host bits are an error, so that a typo is never silently masked. */
export function parseIpv4Prefix(text: string): Result<Ipv4Prefix, Ipv4Error> {
  const [addressText = "", lengthText = "", ...rest] = text.split("/");
  const address = parseIpv4(addressText);
  if (!address.ok) return address;
  if (rest.length > 0 || !/^(0|[1-9]\d?)$/.test(lengthText) || Number(lengthText) > 32) {
    return err({ code: "malformed-prefix", text });
  }
  const prefix = networkOf(address.value, Number(lengthText) as PrefixLength);
  return prefix.network === address.value ? ok(prefix) : err({ code: "host-bits-set", text });
}

export function formatIpv4Prefix(prefix: Ipv4Prefix): string {
  return `${formatIpv4(prefix.network)}/${prefix.length}`;
}

/** The last address of a prefix. Its broadcast address, where the prefix has one (up to /30). */
export function lastOf(prefix: Ipv4Prefix): Ipv4 {
  const hostMask = prefix.length === 0 ? 0xffff_ffff : 2 ** (32 - prefix.length) - 1;
  return ipv4FromUint32(prefix.network | hostMask);
}

export function prefixContains(prefix: Ipv4Prefix, address: Ipv4): boolean {
  return networkOf(address, prefix.length).network === prefix.network;
}

/** Whether the two share an address, which means that one contains the other. */
export function prefixesOverlap(a: Ipv4Prefix, b: Ipv4Prefix): boolean {
  return prefixContains(a, b.network) || prefixContains(b, a.network);
}

/** Wraps a number; undefined unless it is an integer from 0 to 32. */
export function prefixLengthFromNumber(value: number): PrefixLength | undefined {
  return Number.isInteger(value) && value >= 0 && value <= 32 ? (value as PrefixLength) : undefined;
}

/**
 * Whether a host may have the address: not 0/8, 127/8, 224/4 (multicast), 240/4 (reserved).
 * IANA IPv4 Special-Purpose Address Registry, RFC 6890.
 */
export function isHostUnicast(address: Ipv4): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

/**
 * Whether the address is the network or the broadcast address of its prefix. A /31 (RFC 3021)
 * and a /32 have neither.
 */
export function isNetworkOrBroadcast(address: Ipv4, length: PrefixLength): boolean {
  if (length > 30) return false;
  const prefix = networkOf(address, length);
  return address === prefix.network || address === lastOf(prefix);
}
