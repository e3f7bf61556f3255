import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatIpv4, formatIpv4Prefix } from "@mnm/proto/net";
import {
  addresses,
  ascii,
  CONFIG,
  ipv4,
  type ReplyOptions,
  replyOf,
  u32,
} from "../testing/dhcp4-server.js";
import { decodeReply } from "./codec.js";
import { type CheckedTerms, checkTerms } from "./terms.js";

/** The terms of an ACK with these options beside the usual ones. */
function check(
  options: ReplyOptions,
  address = "192.0.2.50",
  sname?: Uint8Array,
  file?: Uint8Array,
) {
  const areas = { ...(sname && { sname }), ...(file && { file }) };
  const payload = replyOf({ type: "ack", xid: 1, address: ipv4(address), options, ...areas });
  const reply = decodeReply(payload, CONFIG);
  assert.ok(reply.ok);
  return checkTerms(reply.value);
}

function accepted(options: ReplyOptions, address?: string): CheckedTerms {
  const checked = check(options, address);
  assert.ok(checked.ok, "accepted");
  return checked.value;
}

const mask = (text: string): ReplyOptions => ({ 1: addresses(text) });

describe("checkTerms() refuses", () => {
  const cases = [
    { name: "no lease time", options: { 51: undefined }, want: "lease-time-missing" },
    {
      name: "a lease time of 3 bytes",
      options: { 51: new Uint8Array(3) },
      want: "lease-time-missing",
    },
    { name: "nine seconds", options: { 51: u32(9) }, want: "lease-too-short" },
    { name: "no address", address: "0.0.0.0", want: "address-unusable" },
    { name: "an address of 0/8", address: "0.1.2.3", want: "address-unusable" },
    { name: "a loopback address", address: "127.0.0.1", want: "address-unusable" },
    { name: "a multicast address", address: "224.0.0.5", want: "address-unusable" },
    { name: "a reserved address", address: "240.0.0.1", want: "address-unusable" },
    { name: "broadcast", address: "255.255.255.255", want: "address-unusable" },
    { name: "the server's own address", address: "192.0.2.1", want: "address-unusable" },
    { name: "the network address", address: "192.0.2.0", want: "address-unusable" },
    { name: "the broadcast address", address: "192.0.2.255", want: "address-unusable" },
    {
      name: "the network address of the class's prefix, without a mask",
      address: "198.51.100.0",
      options: { 1: undefined },
      want: "address-unusable",
    },
    { name: "a mask with a hole", options: mask("255.0.255.0"), want: "mask-unusable" },
    { name: "a mask of 0", options: mask("0.0.0.0"), want: "mask-unusable" },
    { name: "a mask of 7", options: mask("254.0.0.0"), want: "mask-unusable" },
  ];
  for (const { name, options = {}, address, want } of cases) {
    test(name, () => assert.deepEqual(check(options, address), { ok: false, error: want }));
  }
});

describe("checkTerms() takes the mask", () => {
  const cases = [
    { name: "of 8", options: mask("255.0.0.0"), want: 8 },
    { name: "of 31", options: mask("255.255.255.254"), want: 31 },
    { name: "of 32", options: mask("255.255.255.255"), want: 32 },
    {
      name: "of class A, where there is none",
      options: { 1: undefined },
      address: "10.1.2.3",
      want: 8,
    },
    {
      name: "of class B, where there is none",
      options: { 1: undefined },
      address: "172.16.2.3",
      want: 16,
    },
    { name: "of class C, where it has 3 bytes", options: { 1: new Uint8Array(3) }, want: 24 },
  ];
  for (const { name, options, address, want } of cases) {
    test(name, () => assert.equal(accepted(options, address).terms.prefixLength, want));
  }

  test("and remarks that it was missing", () => {
    assert.deepEqual(accepted({ 1: undefined }).remarks, [{ option: 1, problem: "missing" }]);
  });
});

describe("checkTerms() reads gateways and routes", () => {
  const classless = Uint8Array.of(24, 203, 0, 113, 192, 0, 2, 9);
  const everywhere = Uint8Array.of(0, 192, 0, 2, 9);
  const onLink = Uint8Array.of(0, 0, 0, 0, 0);
  const many = Uint8Array.from({ length: 65 * 8 }, (_, at) =>
    at % 8 === 0 ? 24 : (classless[at % 8] ?? 0) + (at % 8 === 3 ? Math.floor(at / 8) : 0),
  );
  const cases = [
    { name: "nothing but option 3", options: {}, gateways: ["192.0.2.1"], routes: [] },
    {
      name: "gateways outside the prefix",
      options: { 3: addresses("198.51.100.1") },
      gateways: ["198.51.100.1"],
      routes: [],
    },
    {
      name: "no gateway that is 0, loopback, ourselves, or nobody",
      options: {
        3: addresses("0.0.0.0", "127.0.0.1", "192.0.2.50", "192.0.2.0", "192.0.2.255", "192.0.2.7"),
      },
      gateways: ["192.0.2.7"],
      routes: [],
    },
    {
      name: "the same gateway once",
      options: { 3: addresses("192.0.2.1", "192.0.2.1") },
      gateways: ["192.0.2.1"],
      routes: [],
    },
    {
      name: "121 instead of 3 and 33",
      options: { 121: classless, 33: addresses("198.51.100.0", "192.0.2.8") },
      gateways: [],
      routes: ["203.0.113.0/24 via 192.0.2.9"],
    },
    {
      name: "a default in 121 as the gateway",
      options: { 121: Uint8Array.of(...classless, ...everywhere) },
      gateways: ["192.0.2.9"],
      routes: ["203.0.113.0/24 via 192.0.2.9"],
    },
    {
      name: "a default on the link as a route",
      options: { 121: onLink },
      gateways: [],
      routes: ["0.0.0.0/0"],
    },
    {
      name: "249 like 121",
      options: { 249: classless },
      gateways: [],
      routes: ["203.0.113.0/24 via 192.0.2.9"],
    },
    {
      name: "121 before 249",
      options: { 121: classless, 249: everywhere },
      gateways: [],
      routes: ["203.0.113.0/24 via 192.0.2.9"],
    },
    {
      name: "option 3 where 121 is malformed",
      options: { 121: Uint8Array.of(33, 1, 2, 3, 4, 5, 192, 0, 2, 9) },
      gateways: ["192.0.2.1"],
      routes: [],
    },
    {
      name: "option 3 where 121 is cut short",
      options: { 121: classless.subarray(0, 6) },
      gateways: ["192.0.2.1"],
      routes: [],
    },
    {
      name: "half of everything: 0/1, and a host",
      options: { 121: Uint8Array.of(1, 0, 192, 0, 2, 9, 32, 203, 0, 113, 5, 192, 0, 2, 9) },
      gateways: [],
      routes: ["0.0.0.0/1 via 192.0.2.9", "203.0.113.5/32 via 192.0.2.9"],
    },
    {
      name: "no route into loopback, multicast, 0/8 or through ourselves",
      options: {
        121: Uint8Array.of(
          ...[8, 127, 192, 0, 2, 9],
          ...[4, 224, 192, 0, 2, 9],
          ...[8, 0, 192, 0, 2, 9],
          ...[8, 10, 192, 0, 2, 50],
        ),
      },
      gateways: [],
      routes: [],
    },
    {
      name: "no route and no default by the prefix's network or broadcast address",
      options: {
        121: Uint8Array.of(
          ...[24, 203, 0, 113, 192, 0, 2, 255],
          ...[24, 198, 51, 100, 192, 0, 2, 0],
          ...[0, 192, 0, 2, 255],
        ),
      },
      gateways: [],
      routes: [],
    },
    {
      name: "option 33 by class, and as a host where it has host bits",
      options: { 33: addresses("198.51.100.0", "192.0.2.8", "10.1.2.3", "192.0.2.8") },
      gateways: ["192.0.2.1"],
      routes: ["198.51.100.0/24 via 192.0.2.8", "10.1.2.3/32 via 192.0.2.8"],
    },
    {
      name: "no default in option 33",
      options: { 33: addresses("0.0.0.0", "192.0.2.8") },
      gateways: ["192.0.2.1"],
      routes: [],
    },
  ];
  for (const { name, options, gateways, routes } of cases) {
    test(name, () => {
      const { terms } = accepted(options);
      assert.deepEqual(terms.gateways.map(formatIpv4), gateways);
      const texts = terms.routes.map(({ destination, gateway }) => {
        const via = gateway === undefined ? "" : ` via ${formatIpv4(gateway)}`;
        return `${formatIpv4Prefix(destination)}${via}`;
      });
      assert.deepEqual(texts, routes);
    });
  }

  test("64 routes at most", () => {
    const parts = [many.subarray(0, 255), many.subarray(255, 510), many.subarray(510)];
    const { terms, remarks } = accepted({ 121: parts });
    assert.equal(terms.routes.length, 64);
    assert.deepEqual(remarks, [{ option: 121, problem: "too-many" }]);
  });
});

describe("checkTerms() keeps of the rest what can be used", () => {
  test("all of it", () => {
    const { terms, remarks } = accepted({
      6: addresses("192.0.2.3", "198.51.100.3"),
      12: ascii("host\0"),
      15: ascii("example.net."),
      26: Uint8Array.of(0x05, 0x78),
      28: addresses("192.0.2.255"),
      42: addresses("192.0.2.4"),
      58: u32(60),
      59: u32(120),
      114: ascii("https://portal.example:8443/login?x=1"),
      119: ascii("\x03foo\x07example\x00\x03bar\xc0\x04"),
    });
    assert.deepEqual(remarks, []);
    assert.deepEqual(terms.dnsServers, [ipv4("192.0.2.3"), ipv4("198.51.100.3")]);
    assert.equal(terms.hostName, "host");
    assert.equal(terms.domain, "example.net");
    assert.equal(terms.mtu, 1400);
    assert.equal(terms.broadcast, ipv4("192.0.2.255"));
    assert.deepEqual(terms.ntpServers, [ipv4("192.0.2.4")]);
    assert.deepEqual([terms.t1Sec, terms.t2Sec], [60, 120]);
    assert.equal(terms.captivePortal, "https://portal.example:8443/login?x=1");
    assert.deepEqual(terms.searchDomains, ["foo.example", "bar.example"]);
  });

  const cases = [
    { option: 3, bytes: new Uint8Array(5), problem: "malformed" },
    { option: 1, bytes: new Uint8Array(3), problem: "malformed" },
    { option: 6, bytes: new Uint8Array(0), problem: "malformed" },
    { option: 33, bytes: new Uint8Array(7), problem: "malformed" },
    { option: 121, bytes: Uint8Array.of(24, 192, 0), problem: "malformed" },
    { option: 249, bytes: Uint8Array.of(33), problem: "malformed" },
    { option: 6, bytes: addresses("127.0.0.53"), problem: "unusable" },
    { option: 12, bytes: ascii("$(reboot)"), problem: "unusable" },
    { option: 15, bytes: ascii("a\nnameserver 192.0.2.66"), problem: "unusable" },
    { option: 26, bytes: Uint8Array.of(2, 0x3f), problem: "unusable" },
    { option: 26, bytes: Uint8Array.of(0x24, 0x01), problem: "unusable" },
    { option: 26, bytes: Uint8Array.of(5), problem: "malformed" },
    { option: 28, bytes: addresses("8.8.8.8"), problem: "unusable" },
    { option: 58, bytes: Uint8Array.of(1, 2), problem: "malformed" },
    { option: 114, bytes: ascii("http://portal.example/"), problem: "unusable" },
    { option: 119, bytes: Uint8Array.of(0xc0, 0), problem: "unusable" },
  ];
  for (const { option, bytes, problem } of cases) {
    test(`option ${option} (${Buffer.from(bytes).toString("hex")}) is ${problem}`, () => {
      assert.deepEqual(accepted({ [option]: bytes }).remarks, [{ option, problem }]);
    });
  }

  test("options in file and sname, where 52 says so", () => {
    const file = Uint8Array.of(12, 1, 0x66, 255);
    const sname = Uint8Array.of(15, 1, 0x73, 255);
    for (const [overload, want] of [
      [0, [undefined, undefined]],
      [1, ["f", undefined]],
      [2, [undefined, "s"]],
      [3, ["f", "s"]],
      [7, [undefined, undefined]],
    ] as const) {
      const checked = check({ 52: Uint8Array.of(overload) }, "192.0.2.50", sname, file);
      assert.ok(checked.ok);
      assert.deepEqual([checked.value.terms.hostName, checked.value.terms.domain], want);
    }
  });

  test("not where 52 comes twice, or in file itself", () => {
    const file = Uint8Array.of(12, 1, 0x66, 52, 1, 2, 255);
    const sname = Uint8Array.of(15, 1, 0x73, 255);
    const twice = check({ 52: [Uint8Array.of(3), Uint8Array.of(3)] }, "192.0.2.50", sname, file);
    assert.ok(twice.ok);
    assert.equal(twice.value.terms.hostName, undefined);
    const nested = check({ 52: Uint8Array.of(1) }, "192.0.2.50", sname, file);
    assert.ok(nested.ok);
    assert.equal(nested.value.terms.hostName, "f");
    assert.equal(nested.value.terms.domain, undefined);
  });
});
