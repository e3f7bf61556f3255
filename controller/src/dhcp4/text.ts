/**
 * Text from strangers. A server's host name or domain has been a way into shells, resolver
 * files and terminals (CVE-2011-0997, CVE-2018-1111): what is not plainly a name is dropped
 * whole, never repaired.
 */

/** RFC 1035 §2.3.4. */
const MAX_NAME = 253;
const MAX_WIRE_NAME = 255;

const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const DOMAIN_NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);

/** Letters, digits and inner hyphens, 1 to 63 a label, 253 in all. */
export function isDomainName(text: string): boolean {
  return text.length <= MAX_NAME && DOMAIN_NAME.test(text);
}

/** The name in a text option; undefined unless it is one. One final dot is left out. */
export function decodeName(bytes: Uint8Array): string | undefined {
  const name = decodeBytes(bytes).replace(/\.$/, "");
  return isDomainName(name) ? name : undefined;
}

/** The https URL in a text option; undefined unless it is one. No user, no other scheme. */
export function decodeHttpsUrl(bytes: Uint8Array): string | undefined {
  const url = decodeBytes(bytes);
  return isHttpsUrl(url) ? url : undefined;
}

/** Whether the text is an https URL of the characters of RFC 3986, with a named or IPv4 host. */
export function isHttpsUrl(text: string): boolean {
  const match =
    /^https:\/\/([A-Za-z0-9.-]+)(?::\d{1,5})?(?:[/?#][\w\-.~:/?#[\]@!$&'()*+,;=%]*)?$/.exec(text);
  return match?.[1] !== undefined && isDomainName(match[1]);
}

/**
 * The names of a domain search option, RFC 3397: DNS names with compression pointers into the
 * option itself. Undefined when any is malformed; one that is merely no host name is left out.
 */
export function decodeSearchDomains(bytes: Uint8Array): readonly string[] | undefined {
  const names: string[] = [];
  let at = 0;
  while (at < bytes.length) {
    const name = readWireName(bytes, at);
    if (name === undefined) return undefined;
    if (isDomainName(name.text)) names.push(name.text);
    at = name.next;
  }
  return names.length > 0 ? names : undefined;
}

interface WireName {
  readonly text: string;
  readonly next: number;
}

/**
 * One name of RFC 1035 §4.1.4. Pointers lead back only, and a name has an end: whatever comes back
 * to itself has passed labels, and soon too many of them (CVE-2017-15908, CVE-2016-2147).
 */
function readWireName(bytes: Uint8Array, start: number): WireName | undefined {
  const labels: string[] = [];
  let at = start;
  let next: number | undefined;
  let length = 1;
  for (let head = bytes[at]; head !== undefined; head = bytes[at]) {
    if (head === 0) return { text: labels.join("."), next: next ?? at + 1 };
    if (head >= 0xc0) {
      const target = ((head & 0x3f) << 8) | (bytes[at + 1] ?? 0xff);
      if (at + 1 >= bytes.length || target >= at) return undefined;
      next ??= at + 2;
      at = target;
      continue;
    }
    const label = bytes.subarray(at + 1, at + 1 + head);
    length += 1 + head;
    if (head > 63 || label.length < head || length > MAX_WIRE_NAME) return undefined;
    // A dot inside a label would be read as two labels: anything that is no letter, digit or
    // hyphen becomes a sign that no host name has.
    labels.push(
      [...label].map((byte) => (byte === 0x2e ? "?" : String.fromCharCode(byte))).join(""),
    );
    at += 1 + head;
  }
  return undefined;
}

/** Bytes as text, one character each, for a check that knows which it wants. */
function decodeBytes(bytes: Uint8Array): string {
  // RFC 2132 §2: receivers must tolerate trailing NULs, which old servers send.
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return Array.from(bytes.subarray(0, end), (byte) => String.fromCharCode(byte)).join("");
}

/** Text as an option's value; undefined when it is empty, over 255 bytes or not printable ASCII. */
export function encodeAscii(text: string): Uint8Array | undefined {
  if (!/^[\x20-\x7e]{1,255}$/.test(text)) return undefined;
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}
