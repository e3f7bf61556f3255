import assert from "node:assert/strict";
import { test } from "node:test";
import { ifindexFromNumber, instantFromMs, parseIpv4, parseIpv4Prefix } from "@mnm/proto/net";
import fc from "fast-check";
import type { KernelNotification, KernelRoute, KernelRule } from "../reconcile/index.js";
import { CAPTURES } from "../testing/kernel-captures.js";
import { type DecodeContext, decodeNotification } from "./kernel-decode.js";
import { splitMessages } from "./netlink-message.js";

const context: DecodeContext = { now: instantFromMs(1_000_000), deviceTypeOf: () => undefined };

/** What the one message of a datagram says; undefined for nothing. */
function decode(datagram: Buffer, using = context): KernelNotification | undefined {
  const messages = splitMessages(datagram);
  assert.ok(messages.ok);
  const [message] = messages.value;
  assert.ok(message !== undefined && messages.value.length === 1);
  const decoded = decodeNotification(message, using);
  assert.ok(decoded.ok, decoded.ok ? "" : decoded.error.reason);
  return decoded.value;
}

function malformedReason(datagram: Buffer): string | undefined {
  const messages = splitMessages(datagram);
  if (!messages.ok) return messages.error.reason;
  for (const message of messages.value) {
    const decoded = decodeNotification(message, context);
    if (!decoded.ok) return decoded.error.reason;
  }
  return undefined;
}

function ipv4(text: string) {
  const parsed = parseIpv4(text);
  assert.ok(parsed.ok);
  return parsed.value;
}

function prefix(text: string) {
  const parsed = parseIpv4Prefix(text);
  assert.ok(parsed.ok);
  return parsed.value;
}

/** The message with one more attribute, of a type that it does not have or instead of it. */
function withAttribute(message: Buffer, type: number, value: Buffer): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt16LE(4 + value.length, 0);
  header.writeUInt16LE(type, 2);
  const padding = Buffer.alloc(-value.length & 3);
  const longer = Buffer.concat([message, header, value, padding]);
  longer.writeUInt32LE(longer.length, 0);
  return longer;
}

/** The message with one byte of its fixed header changed. */
function withByte(message: Buffer, offset: number, value: number): Buffer {
  const changed = Buffer.from(message);
  changed.writeUInt8(value, 16 + offset);
  return changed;
}

test("a link, with what its kind leaves undefined", () => {
  assert.deepEqual(decode(CAPTURES.vethUp), {
    kind: "link",
    link: {
      ifindex: 7,
      name: "v0",
      mac: "02:00:00:00:00:01",
      permanentMac: undefined,
      hardwareType: 1,
      infoKind: "veth",
      parentDevice: undefined,
      deviceType: undefined,
      master: undefined,
      adminUp: true,
      carrier: true,
      operstate: "up",
      loopback: false,
      pointToPoint: false,
      mtu: 1500,
      settings: {
        rpFilter: 0,
        arpIgnore: 0,
        arpAnnounce: 0,
        ignoreRoutesWithLinkdown: 0,
        promoteSecondaries: 0,
      },
    },
  });
});

test("a link's settings are at the places that linux/ip.h gives them", () => {
  const decoded = decode(CAPTURES.settings);
  assert.ok(decoded?.kind === "link");
  assert.deepEqual(decoded.link.settings, {
    rpFilter: 2,
    arpAnnounce: 2,
    arpIgnore: 1,
    promoteSecondaries: 1,
    ignoreRoutesWithLinkdown: 1,
  });
});

test("a link's port, permanent MAC, parent device and flags", () => {
  const ported = decode(CAPTURES.ported);
  assert.ok(ported?.kind === "link");
  assert.equal(ported.link.master, 9);

  const permanent = withAttribute(CAPTURES.vethUp, 54, Buffer.from("020000000055", "hex"));
  const parent = withAttribute(permanent, 56, Buffer.from("1-1.2:1.0\0"));
  const down = withByte(parent, 10, 0);
  const decoded = decode(down);
  assert.ok(decoded?.kind === "link");
  assert.equal(decoded.link.permanentMac, "02:00:00:00:00:55");
  assert.equal(decoded.link.parentDevice, "1-1.2:1.0");
  assert.equal(decoded.link.carrier, false);

  const longMac = decode(withAttribute(CAPTURES.vethUp, 1, Buffer.alloc(20)));
  assert.ok(longMac?.kind === "link");
  assert.equal(longMac.link.mac, undefined, "InfiniBand has 20 bytes");
});

test("sysfs is asked for Ethernet without an info kind only", () => {
  const asked: string[] = [];
  const using = {
    ...context,
    deviceTypeOf: (ifindex: number, name: string) => {
      asked.push(`${ifindex} ${name}`);
      return "wwan";
    },
  };
  decode(CAPTURES.vethUp, using);
  assert.deepEqual(asked, []);
  // An empty IFLA_LINKINFO takes the kind away, as of hardware.
  const bare = withAttribute(CAPTURES.vethUp, 18, Buffer.alloc(0));
  const decoded = decode(bare, using);
  assert.ok(decoded?.kind === "link");
  assert.equal(decoded.link.deviceType, "wwan");
  assert.deepEqual(asked, ["7 v0"]);
  decode(withByte(withByte(bare, 2, 0xfe), 3, 0xff), using);
  assert.deepEqual(asked, ["7 v0"]);
});

test("a link that is gone; a port that left its bridge is not", () => {
  assert.deepEqual(decode(CAPTURES.linkGone), { kind: "link-gone", ifindex: 7 });
  assert.equal(decode(CAPTURES.bridgePortAf), undefined);
  assert.equal(decode(CAPTURES.bridgePortGone), undefined);
});

test("a wireless extension's event is not taken for a link without carrier and settings", () => {
  assert.equal(decode(withAttribute(CAPTURES.vethUp, 11, Buffer.alloc(8))), undefined);
});

test("addresses", () => {
  assert.deepEqual(decode(CAPTURES.address77), {
    kind: "address",
    address: {
      ifindex: 7,
      address: ipv4("192.0.2.2"),
      length: 24,
      peer: undefined,
      broadcast: ipv4("192.0.2.255"),
      protocol: 77,
      noprefixroute: true,
      scope: 0,
      expiry: 1_000_000 + 3_600_000,
    },
  });
  const peer = {
    ifindex: 7,
    address: ipv4("198.51.100.1"),
    length: 32,
    peer: ipv4("198.51.100.9"),
    broadcast: undefined,
    protocol: 0,
    noprefixroute: false,
    scope: 0,
    expiry: undefined,
  };
  assert.deepEqual(decode(CAPTURES.addressPeer), { kind: "address", address: peer });
  assert.deepEqual(decode(CAPTURES.addressGone), { kind: "address-gone", address: peer });
});

const ourRoute: KernelRoute = {
  table: 7701,
  type: "unicast",
  destination: prefix("0.0.0.0/0"),
  metric: 5,
  tos: 0,
  scope: 0,
  protocol: 77,
  ifindex: ifindexFromNumber(7),
  gateway: ipv4("192.0.2.1"),
  preferredSource: ipv4("192.0.2.2"),
  mtu: 1400,
  onlink: true,
};

test("routes", () => {
  assert.deepEqual(decode(CAPTURES.routeOurs), { kind: "route", route: ourRoute });
  assert.deepEqual(decode(CAPTURES.routeGone), { kind: "route-gone", route: ourRoute });
  const foreign = { preferredSource: undefined, mtu: undefined, protocol: 3 };
  assert.deepEqual(decode(CAPTURES.routeForeignDefault), {
    kind: "route",
    route: { ...ourRoute, ...foreign, table: 254, metric: 100 },
  });
  // NLM_F_REPLACE, in the header's flags; rtm_protocol is boot.
  const intruder = withByte(CAPTURES.routeOurs, 5, 3);
  assert.equal(decode(intruder), undefined);
  intruder.writeUInt16LE(0x100, 6);
  assert.deepEqual(decode(intruder), { kind: "route", route: { ...ourRoute, protocol: 3 } });
  const bare = { ifindex: undefined, gateway: undefined, onlink: false, protocol: 77 };
  assert.deepEqual(decode(CAPTURES.routeUnreachable), {
    kind: "route",
    route: {
      ...ourRoute,
      ...foreign,
      ...bare,
      type: "unreachable",
      destination: prefix("203.0.113.0/25"),
      metric: 0,
    },
  });
  assert.deepEqual(decode(CAPTURES.routeMultipath), {
    kind: "route",
    route: { ...ourRoute, ...foreign, ...bare, table: 254, metric: 9 },
  });
});

test("routes that MNM does not look at", () => {
  const ignored = [
    { name: "foreign, to a prefix", message: CAPTURES.routeForeign },
    {
      name: "foreign default in another table",
      message: withByte(CAPTURES.routeForeignDefault, 4, 9),
    },
    { name: "IPv6", message: withByte(CAPTURES.routeOurs, 0, 10) },
    { name: "cloned", message: withByte(CAPTURES.routeOurs, 9, 2) },
  ];
  for (const { name, message } of ignored) assert.equal(decode(message), undefined, name);
});

const ruleDefaults: KernelRule = {
  priority: 0,
  from: undefined,
  to: undefined,
  iif: undefined,
  oif: undefined,
  table: 7701,
  action: "lookup",
  suppressPrefixLength: undefined,
  protocol: 77,
  isOpaque: false,
};

test("rules", () => {
  const from = prefix("192.0.2.2/32");
  const foreign = { protocol: 0, table: 100, isOpaque: true };
  const table = [
    { message: CAPTURES.ruleFrom, want: { priority: 10_000, from } },
    { message: CAPTURES.ruleOif, want: { priority: 9000, oif: "v0" } },
    {
      message: CAPTURES.ruleSuppress,
      want: { priority: 9500, table: 254, suppressPrefixLength: 0 },
    },
    {
      message: CAPTURES.ruleUnreachable,
      want: { priority: 10_500, from, table: 0, action: "unreachable" },
    },
    { message: CAPTURES.ruleTo, want: { priority: 21_000, to: prefix("192.0.2.0/24") } },
    { message: CAPTURES.ruleMark, want: { priority: 50, ...foreign } },
    { message: CAPTURES.ruleNot, want: { priority: 51, from, ...foreign } },
    { message: CAPTURES.ruleUid, want: { priority: 52, ...foreign } },
    {
      // FRA_DSCP, which is newer than most.
      message: withAttribute(CAPTURES.ruleFrom, 27, Buffer.from([3])),
      want: { priority: 10_000, from, isOpaque: true },
    },
    {
      // FRA_TUN_ID, whose number is also the length of the header.
      message: withAttribute(CAPTURES.ruleFrom, 12, Buffer.alloc(8)),
      want: { priority: 10_000, from, isOpaque: true },
    },
    {
      message: withByte(CAPTURES.ruleFrom, 3, 8),
      want: { priority: 10_000, from, isOpaque: true },
    },
  ];
  for (const { message, want } of table) {
    assert.deepEqual(decode(message), { kind: "rule", rule: { ...ruleDefaults, ...want } });
  }
  assert.equal(decode(CAPTURES.ruleGone)?.kind, "rule-gone");
  assert.equal(decode(withByte(CAPTURES.ruleFrom, 0, 10)), undefined, "IPv6");
});

test("an attribute may be longer than we know it, as structures grow", () => {
  const grown = withAttribute(CAPTURES.address77, 6, Buffer.alloc(64));
  assert.ok(decode(grown)?.kind === "address");
});

test("malformed messages say what is wrong with them", () => {
  const tooLong = Buffer.from(CAPTURES.routeOurs);
  tooLong.writeUInt16LE(400, 16 + 12);
  const table = [
    { message: Buffer.from([1, 2, 3]), want: "message length" },
    { message: CAPTURES.routeOurs.subarray(0, 40), want: "message length" },
    { message: tooLong, want: "route attribute length" },
    { message: withAttribute(CAPTURES.routeOurs, 6, Buffer.alloc(2)), want: "route attribute 6" },
    { message: withByte(CAPTURES.routeOurs, 1, 33), want: "route destination" },
    { message: withByte(CAPTURES.address77, 1, 33), want: "address without an address" },
    { message: withByte(CAPTURES.ruleFrom, 2, 33), want: "rule prefix" },
    {
      message: withAttribute(CAPTURES.vethUp, 26, Buffer.from([9])),
      want: "link 26 attribute length",
    },
  ];
  for (const { message, want } of table) assert.equal(malformedReason(message), want);
});

test("a datagram with several messages, and one that is cut off in its header", () => {
  const both = Buffer.concat([CAPTURES.ruleFrom, CAPTURES.routeOurs]);
  const messages = splitMessages(both);
  assert.ok(messages.ok);
  assert.deepEqual(
    messages.value.map(({ type }) => type),
    [32, 24],
  );
  assert.equal(malformedReason(both.subarray(0, CAPTURES.ruleFrom.length + 7)), "message length");
});

test("no bytes make the decoder throw", () => {
  const captures = fc.constantFrom(...Object.values(CAPTURES));
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 12 });
  let decodedCount = 0;
  let malformedCount = 0;
  fc.assert(
    fc.property(captures, changes, fc.nat(), (capture, edits, cut) => {
      const bytes = Buffer.from(capture);
      // The header's length and type stay, or nearly nothing would reach the decoders.
      for (const [at, value] of edits) bytes[16 + (at % (bytes.length - 16))] = value;
      const datagram = cut % 3 === 0 ? bytes.subarray(0, cut % bytes.length) : bytes;
      if (malformedReason(datagram) === undefined) decodedCount += 1;
      else malformedCount += 1;
    }),
    { numRuns: 20_000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      malformedReason(Buffer.from(bytes));
    }),
  );
  // Both ways out are taken often: the property looks at the decoders and not at the framing.
  assert.ok(decodedCount > 2000, `${decodedCount} decoded`);
  assert.ok(malformedCount > 2000, `${malformedCount} malformed`);
});
