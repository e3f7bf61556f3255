import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ascii } from "../testing/dhcp4-server.js";
import {
  decodeHttpsUrl,
  decodeName,
  decodeSearchDomains,
  encodeAscii,
  isDomainName,
} from "./text.js";

describe("decodeName()", () => {
  const cases = [
    { name: "a name", text: "host-1.Example", want: "host-1.Example" },
    { name: "trailing NULs", text: "host\0\0", want: "host" },
    { name: "a final dot", text: "example.net.", want: "example.net" },
    { name: "63 letters", text: "a".repeat(63), want: "a".repeat(63) },
    { name: "64 letters", text: "a".repeat(64), want: undefined },
    { name: "254 in all", text: `${"a.".repeat(126)}ab`, want: undefined },
    { name: "253 in all", text: `${"a.".repeat(126)}a`, want: `${"a.".repeat(126)}a` },
    { name: "nothing", text: "", want: undefined },
    { name: "only NULs", text: "\0\0", want: undefined },
    { name: "a dot", text: ".", want: undefined },
    { name: "an empty label", text: "a..b", want: undefined },
    { name: "a path", text: "../../etc", want: undefined },
    { name: "what looks like an option of a program", text: "-rf", want: undefined },
    { name: "a space", text: "a b", want: undefined },
    { name: "an underscore", text: "a_b", want: undefined },
    { name: "a NUL inside", text: "a\0b", want: undefined },
    { name: "a line feed at the end", text: "a\n", want: undefined },
    { name: "terminal escapes", text: "\x1b[31m", want: undefined },
    { name: "bytes beyond ASCII", text: "h\xf6st", want: undefined },
  ];
  for (const { name, text, want } of cases) {
    test(name, () => assert.equal(decodeName(ascii(text)), want));
  }
});

describe("decodeHttpsUrl()", () => {
  const cases = [
    { text: "https://portal.example", ok: true },
    { text: "https://192.0.2.1:8443/a?b=c#d", ok: true },
    { text: "http://portal.example", ok: false },
    { text: "https://user@portal.example/", ok: false },
    { text: "https://-portal.example/", ok: false },
    { text: "https://portal.example/ a", ok: false },
    { text: "https://portal.example/\x1b", ok: false },
    { text: "https://", ok: false },
    { text: "javascript:alert(1)", ok: false },
    { text: "urn:ietf:params:capport:unrestricted", ok: false },
  ];
  for (const { text, ok } of cases) {
    test(JSON.stringify(text), () => assert.equal(decodeHttpsUrl(ascii(text)) !== undefined, ok));
  }
});

describe("decodeSearchDomains()", () => {
  const cases = [
    { name: "one name", bytes: "\x01a\x01b\0", want: ["a.b"] },
    { name: "a pointer back", bytes: "\x01a\x01b\0\x01c\xc0\x02", want: ["a.b", "c.b"] },
    { name: "a name that is only a pointer", bytes: "\x01a\0\xc0\x00", want: ["a", "a"] },
    { name: "a pointer to itself", bytes: "\xc0\x00", want: undefined },
    { name: "a pointer ahead", bytes: "\xc0\x02\x01a\0", want: undefined },
    { name: "a pointer into its own name", bytes: "\x01a\xc0\x00", want: undefined },
    { name: "two that chase each other", bytes: "\x01a\xc0\x04\x01b\xc0\x00", want: undefined },
    { name: "half a pointer", bytes: "\x01a\0\xc0", want: undefined },
    { name: "no end", bytes: "\x01a", want: undefined },
    { name: "a label past the end", bytes: "\x05a\0", want: undefined },
    { name: "a label of 64", bytes: `\x40${"a".repeat(64)}\0`, want: undefined },
    { name: "a name of 257", bytes: `${"\x01a".repeat(128)}\0\x01c\0`, want: undefined },
    { name: "a label with a dot in it", bytes: "\x03a.b\0\x01c\0", want: ["c"] },
    { name: "a name that is none", bytes: "\x04a;rm\0\x01c\0", want: ["c"] },
    { name: "the root", bytes: "\0", want: undefined },
    { name: "nothing", bytes: "", want: undefined },
  ];
  for (const { name, bytes, want } of cases) {
    test(name, () => assert.deepEqual(decodeSearchDomains(ascii(bytes)), want));
  }

  test("ends quickly and yields names only, whatever the bytes", () => {
    const bytes = fc.uint8Array({ maxLength: 1472 });
    const pointers = fc.array(fc.constantFrom(0, 1, 0x61, 0xc0), { maxLength: 1472 });
    const either = fc.oneof(
      bytes,
      pointers.map((all) => Uint8Array.from(all)),
    );
    fc.assert(
      fc.property(either, (option) => {
        const startedAt = performance.now();
        for (const name of decodeSearchDomains(option) ?? []) assert.ok(isDomainName(name));
        assert.ok(performance.now() - startedAt < 50);
      }),
    );
  });
});

test("encodeAscii() takes printable ASCII of 1 to 255 bytes", () => {
  assert.deepEqual(encodeAscii("a b"), Uint8Array.of(0x61, 0x20, 0x62));
  for (const text of ["", "a\n", "ä", "x".repeat(256)]) assert.equal(encodeAscii(text), undefined);
});
