import { type Branded, type Ipv4, ipv4FromUint32 } from "./ipv4.js";
import { err, ok, type Result } from "./result.js";

/** The kernel's number of a link, from 1. Not reused while the link exists, but afterwards. */
export type Ifindex = Branded<number, "Ifindex">;

/** A link's present name, 1 to 15 bytes. May change, so never a key. */
export type LinkName = Branded<string, "LinkName">;

/** A 48-bit hardware address as lower-case text, `02:00:00:00:00:01`. */
export type MacAddress = Branded<string, "MacAddress">;

/** Wraps a number that the kernel gave as an ifindex. */
export function ifindexFromNumber(value: number): Ifindex {
  return value as Ifindex;
}

/** Wraps text that the kernel gave as a link's name. */
export function linkNameFromKernel(text: string): LinkName {
  return text as LinkName;
}

/** What the kernel allows as a link's name (`dev_valid_name` in net/core/dev.c). */
export function parseLinkName(text: string): Result<LinkName, { readonly code: "malformed-name" }> {
  const isValid = /^[!-.0-9;-~]{1,15}$/.test(text) && text !== "." && text !== "..";
  return isValid ? ok(text as LinkName) : err({ code: "malformed-name" });
}

/** The address of six bytes; undefined for hardware addresses of any other length. */
export function macFromBytes(bytes: Uint8Array): MacAddress | undefined {
  if (bytes.length !== 6) return undefined;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":") as MacAddress;
}

export function macToBytes(mac: MacAddress): Uint8Array {
  return Uint8Array.from(mac.split(":"), (pair) => Number.parseInt(pair, 16));
}

/** Parses `02:00:00:00:00:01`, in either case. */
export function parseMac(text: string): Result<MacAddress, { readonly code: "malformed-mac" }> {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)) return err({ code: "malformed-mac" });
  return ok(text.toLowerCase() as MacAddress);
}

/** The address as four bytes, most significant first. */
export function ipv4ToBytes(address: Ipv4): Uint8Array {
  return Uint8Array.of(address >>> 24, address >>> 16, address >>> 8, address);
}

/** The address in the first four bytes; undefined unless there are exactly four. */
export function ipv4FromBytes(bytes: Uint8Array): Ipv4 | undefined {
  if (bytes.length !== 4) return undefined;
  return ipv4FromUint32(new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0));
}
