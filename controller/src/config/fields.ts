import {
  type Ipv4,
  isHostUnicast,
  type MacAddress,
  type PrefixLength,
  parseIpv4,
  parseMac,
  prefixLengthFromMask,
  prefixLengthFromNumber,
} from "@mnm/proto/net";
import type { MapEntry, YamlNode } from "./document.js";
import { type Report, shorten, suggest } from "./problem.js";

/** The entries of one mapping by key, each of them known. */
export type Fields = ReadonlyMap<string, MapEntry>;

/** Turns an entry into its value; undefined when that is wrong, which it has then reported. */
export type Reader<T> = (entry: MapEntry, report: Report) => T | undefined;

/** An address and the length of the prefix it is in, host bits and all. */
export interface HostAddress {
  readonly address: Ipv4;
  readonly prefixLength: PrefixLength;
}

/**
 * Sorts a mapping by key and reports what is unknown. An empty value is an empty mapping, so
 * that `eth0:` alone manages eth0.
 */
export function readFields(
  node: YamlNode,
  known: readonly string[],
  report: Report,
): Fields | undefined {
  if (node.kind === "scalar" && node.value === "") return new Map();
  if (node.kind !== "map") {
    const what = node.kind === "list" ? "A list" : shorten(node.value);
    const value = node.kind === "list" ? "" : node.value;
    report.add(node.at, value, `${what} stands where keys belong: ${known.join(", ")}`);
    return undefined;
  }
  const fields = new Map<string, MapEntry>();
  for (const entry of node.entries) {
    if (known.includes(entry.key)) {
      fields.set(entry.key, entry);
    } else {
      const text = `Unknown key ${shorten(entry.key)}; ${suggest(entry.key, known)}`;
      report.add(entry.keyAt, entry.key, text);
    }
  }
  return fields;
}

/** The value of a key; undefined when it is absent, or wrong and reported. */
export function fieldOf<T>(
  fields: Fields,
  key: string,
  read: Reader<T>,
  report: Report,
): T | undefined {
  const entry = fields.get(key);
  return entry === undefined ? undefined : read(entry, report);
}

/** A reader of one word. `right` completes "metric 0 is not …". */
function word<T>(right: string, parse: (text: string) => T | undefined): Reader<T> {
  return ({ key, keyAt, value }, report) => {
    const text = value.kind === "scalar" ? value.value : undefined;
    const parsed = text === undefined ? undefined : parse(text);
    if (parsed !== undefined) return parsed;
    if (text === "" || text === undefined) {
      report.add(
        keyAt,
        "",
        `${key} has ${text === "" ? "no" : "a compound"} value; it is ${right}`,
      );
    } else {
      report.add(value.at, text, `${key} ${shorten(text)} is not ${right}`);
    }
    return undefined;
  };
}

export const boolean: Reader<boolean> = word("true or false", (text) =>
  text === "true" ? true : text === "false" ? false : undefined,
);

/** A reader of one of a few words. */
export function oneOf<const T extends string>(choices: readonly T[]): Reader<T> {
  const [last = "", ...others] = [...choices].reverse();
  const right = `${others.reverse().join(", ")} or ${last}`;
  return word(right, (text) => choices.find((choice) => choice === text));
}

/** A reader of a whole number from 1 on. */
export function numberUpTo(max: number): Reader<number> {
  return word(`a whole number from 1 to ${max}`, (text) =>
    /^[1-9]\d{0,8}$/.test(text) && Number(text) <= max ? Number(text) : undefined,
  );
}

/** An address that a host may have. */
export const hostIpv4: Reader<Ipv4> = word("an address of a host, such as 192.0.2.1", parseHost);

/** `192.0.2.7/24`: an address without its prefix length is half of what a link needs. */
export const hostAddress: Reader<HostAddress> = word(
  "an address with its prefix length from 1 to 32, such as 192.0.2.7/24",
  (text) => {
    const [addressText = "", lengthText = "", ...rest] = text.split("/");
    const address = parseHost(addressText);
    const length = /^[1-9]\d?$/.test(lengthText) ? Number(lengthText) : 0;
    const prefixLength = length === 0 ? undefined : prefixLengthFromNumber(length);
    const isWhole = address !== undefined && prefixLength !== undefined && rest.length === 0;
    return isWhole ? { address, prefixLength } : undefined;
  },
);

/** MULTI's `netmask: 255.255.255.0`. */
export const netmask: Reader<PrefixLength> = word("a netmask such as 255.255.255.0", (text) => {
  const mask = parseIpv4(text);
  if (!mask.ok || mask.value === 0) return undefined;
  const length = prefixLengthFromMask(mask.value);
  return length.ok ? length.value : undefined;
});

export const macAddress: Reader<MacAddress> = word("a MAC such as 02:00:00:00:00:01", (text) => {
  const mac = parseMac(text);
  return mac.ok ? mac.value : undefined;
});

/** The bus path of a device. */
export const busPath: Reader<string> = word("a bus path such as 1-1.3:1.0 or usb-0:1.3", (text) =>
  /^[\w.:+-]{1,64}$/.test(text) ? text : undefined,
);

const HOST_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const HOST_NAME = new RegExp(`^${HOST_LABEL}(?:\\.${HOST_LABEL})*$`, "i");

/** RFC 1123 §2.1. */
export const hostName: Reader<string> = word("a host name: letters, digits, - and .", (text) =>
  text.length <= 253 && HOST_NAME.test(text) ? text : undefined,
);

/** RFC 2132 §9.14: a type byte and at least one more. */
export const clientId: Reader<Uint8Array> = word(
  "2 to 255 bytes in hexadecimal, such as 01020000000001 or 01:02:00:00:00:00:01",
  (text) => {
    const digits = /^[0-9a-f]{2}(:[0-9a-f]{2})*$/i.test(text) ? text.replaceAll(":", "") : text;
    if (!/^([0-9a-f]{2}){2,255}$/i.test(digits)) return undefined;
    return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  },
);

/** RFC 2132 §9.13; printable ASCII, as deployed servers match it. */
export const vendorClass: Reader<string> = word("1 to 255 printable ASCII characters", (text) =>
  /^[ -~]{1,255}$/.test(text) ? text : undefined,
);

function parseHost(text: string): Ipv4 | undefined {
  const address = parseIpv4(text);
  return address.ok && isHostUnicast(address.value) ? address.value : undefined;
}
