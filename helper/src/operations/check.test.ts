import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type {
  DhcpMessage,
  LinkRef,
  PutAddress,
  PutLinkSettings,
  PutRoute,
} from "@mnm/proto/helper";
import { RouteType } from "@mnm/proto/helper";
import { parseIpv4, parseIpv4Prefix } from "@mnm/proto/net";
import fc from "fast-check";
import { checkDhcpMessage, checkPacketLink } from "../dhcp-message.js";
import type { Facts, KernelAddress, KernelLink } from "../facts.js";
import { attempt, encodeFault } from "../fault.js";
import { DEFAULT_CONFIG } from "../start/config.js";
import * as address from "./address.js";
import * as settings from "./link-settings.js";
import * as route from "./route.js";

const MAC = Buffer.from("020000000001", "hex");

function link(ifindex: number, name: string, more: Partial<KernelLink> = {}): KernelLink {
  const plain = { hardware: 1, isLoopback: false, isPointToPoint: false, isNoArp: false };
  return { ifindex, name, mac: MAC, ...plain, ...more };
}

function held(ifindex: number, text: string, protocol = 77): KernelAddress {
  const [own = "", length = ""] = text.split("/");
  const of = ip4(own);
  const mask = Number(length) === 0 ? 0 : -1 << (32 - Number(length));
  const network = `${[24, 16, 8, 0].map((shift) => ((of & mask) >>> shift) & 255).join(".")}/${length}`;
  const prefix = parseIpv4Prefix(network);
  assert.ok(prefix.ok, network);
  return { ifindex, address: of, peer: of, prefix: prefix.value, broadcast: undefined, protocol };
}

function ip4(text: string) {
  const parsed = parseIpv4(text);
  assert.ok(parsed.ok, text);
  return parsed.value;
}

function prefix4(text: string) {
  const [network = "", length] = text.split("/");
  return { network: ip4(network), length: Number(length) };
}

// wan1 and wan2 are ours to touch; docker0 and both loopbacks are not.
const LINKS = [
  link(1, "lo", { mac: Buffer.alloc(6), hardware: 772, isLoopback: true }),
  link(2, "wan1"),
  link(3, "wan2"),
  link(4, "docker0"),
  link(5, "wan-lo", { isLoopback: true }),
  link(6, "wan-ppp", { mac: Buffer.alloc(0), hardware: 512, isPointToPoint: true }),
  link(7, "wan-lte", { mac: Buffer.alloc(0), hardware: 65_534 }),
  link(8, "wan-gre", { mac: Buffer.alloc(4), hardware: 778, isPointToPoint: true }),
];
const ADDRESSES = [
  held(1, "127.0.0.1/8", 0),
  held(1, "203.0.113.9/32", 0),
  held(2, "192.0.2.2/24"),
  held(3, "192.0.2.3/24"),
  held(4, "198.51.100.1/24", 0),
  held(7, "10.0.0.2/30"),
];
function factsWith(addresses: readonly KernelAddress[]): Facts {
  return {
    link: (ifindex) => LINKS.find((one) => one.ifindex === ifindex),
    addresses: () => addresses,
    addressesOf: (ifindex) => addresses.filter((one) => one.ifindex === ifindex),
    ownRoutesBy: () => [],
  };
}
const facts = factsWith(ADDRESSES);
const context = { allow: { ...DEFAULT_CONFIG, links: ["wan*"] }, facts };

function ref(name: string): LinkRef {
  const found = LINKS.find((one) => one.name === name);
  assert.ok(found);
  return { ifindex: found.ifindex, name, mac: Buffer.from(found.mac) };
}

/** `ok`, or the code and the field at fault. */
function outcome(check: () => unknown): string {
  const result = attempt(check);
  if (result.ok) return "ok";
  return `${result.error.code} ${"field" in result.error ? result.error.field : ""}`.trim();
}

describe("checkLink(), by PutLinkSettings", () => {
  const cases: [string, LinkRef | undefined, string][] = [
    ["accepts the link that is meant", ref("wan1"), "ok"],
    ["refuses none", undefined, "malformed link"],
    ["refuses ifindex 0", { ...ref("wan1"), ifindex: 0 }, "link-mismatch ifindex"],
    ["refuses an absent one", { ...ref("wan1"), ifindex: 99 }, "link-mismatch ifindex"],
    ["refuses another name", { ...ref("wan1"), name: "wan2" }, "link-mismatch name"],
    ["refuses another MAC", { ...ref("wan1"), mac: Buffer.alloc(6) }, "link-mismatch mac"],
    [
      "refuses no MAC where there is one",
      { ...ref("wan1"), mac: Buffer.alloc(0) },
      "link-mismatch mac",
    ],
    ["accepts no MAC where there is none", ref("wan-ppp"), "ok"],
    ["takes a tunnel's address for no MAC", { ...ref("wan-gre"), mac: Buffer.alloc(0) }, "ok"],
    ["refuses a link off the list", ref("docker0"), "not-permitted link"],
    ["refuses lo", ref("lo"), "not-permitted link"],
    ["refuses a renamed lo", ref("wan-lo"), "not-permitted link"],
  ];
  for (const [name, named, want] of cases) {
    test(name, () => {
      const check = () => settings.checkPutLinkSettings({ link: named, up: true }, context);
      assert.equal(outcome(check), want);
    });
  }

  test("refuses lo even where every link is allowed", () => {
    const all = { ...context, allow: DEFAULT_CONFIG };
    const check = () => settings.checkPutLinkSettings({ link: ref("lo"), up: true }, all);
    assert.equal(outcome(check), "not-permitted link");
  });
});

describe("checkPutLinkSettings()", () => {
  const cases: { change: Partial<PutLinkSettings>; want: string }[] = [
    { change: { rpFilter: 2, arpIgnore: 8, arpAnnounce: 2 }, want: "ok" },
    { change: { ignoreRoutesWithLinkdown: 1, promoteSecondaries: 1 }, want: "ok" },
    { change: { rpFilter: 3 }, want: "not-permitted rp_filter" },
    { change: { arpIgnore: 9 }, want: "not-permitted arp_ignore" },
    { change: { arpAnnounce: 3 }, want: "not-permitted arp_announce" },
    { change: { ignoreRoutesWithLinkdown: 2 }, want: "not-permitted ignore_routes_with_linkdown" },
    { change: { promoteSecondaries: 2 }, want: "not-permitted promote_secondaries" },
  ];
  for (const { change, want } of cases) {
    test(`${JSON.stringify(change)} is ${want}`, () => {
      const request = { link: ref("wan1"), up: false, ...change };
      assert.equal(
        outcome(() => settings.checkPutLinkSettings(request, context)),
        want,
      );
    });
  }
});

describe("checkPutAddress()", () => {
  const cases: [string, Partial<PutAddress>, string][] = [
    ["accepts an address", {}, "ok"],
    ["accepts its own broadcast", { broadcast: ip4("192.0.2.255") }, "ok"],
    ["accepts both of a /31", { prefixLength: 31, address: ip4("192.0.2.4") }, "ok"],
    ["accepts a /32", { prefixLength: 32 }, "ok"],
    ["accepts one that an allowed link has", { address: ip4("192.0.2.3") }, "ok"],
    ["refuses a link off the list", { link: ref("docker0") }, "not-permitted link"],
    ["refuses 0/8", { address: ip4("0.0.0.1") }, "not-permitted address"],
    ["refuses 127/8", { address: ip4("127.0.0.2") }, "not-permitted address"],
    ["refuses multicast", { address: ip4("224.0.0.5") }, "not-permitted address"],
    ["refuses 240/4", { address: ip4("255.255.255.255") }, "not-permitted address"],
    ["refuses /0", { prefixLength: 0 }, "malformed prefix_length"],
    ["refuses /33", { prefixLength: 33 }, "malformed prefix_length"],
    ["refuses the network address", { address: ip4("192.0.2.0") }, "malformed address"],
    ["refuses the broadcast address", { address: ip4("192.0.2.255") }, "malformed address"],
    ["refuses a broadcast elsewhere", { broadcast: ip4("8.8.8.8") }, "malformed broadcast"],
    [
      "refuses a broadcast of a /31",
      { prefixLength: 31, broadcast: ip4("192.0.2.5") },
      "malformed broadcast",
    ],
    ["refuses a peer on Ethernet", { peer: ip4("192.0.2.1") }, "not-permitted peer"],
    [
      "accepts a peer on PPP",
      { link: ref("wan-ppp"), prefixLength: 32, peer: ip4("10.9.9.9") },
      "ok",
    ],
    [
      "refuses a peer that is no host",
      { link: ref("wan-ppp"), prefixLength: 32, peer: ip4("224.0.0.1") },
      "not-permitted peer",
    ],
    ["refuses what another link holds", { address: ip4("203.0.113.9") }, "not-permitted address"],
    [
      "refuses what another link's prefix covers",
      { address: ip4("198.51.100.77") },
      "not-permitted address",
    ],
    [
      "refuses a prefix that ends in another link's",
      { address: ip4("126.0.0.1"), prefixLength: 1 },
      "not-permitted prefix_length",
    ],
    [
      "refuses a peer whose prefix ends in another link's",
      { link: ref("wan-ppp"), prefixLength: 30, peer: ip4("198.51.100.6") },
      "not-permitted prefix_length",
    ],
    [
      "accepts that peer alone",
      { link: ref("wan-ppp"), prefixLength: 32, peer: ip4("198.51.100.6") },
      "ok",
    ],
    ["refuses a lifetime of 0", { validSec: 0 }, "malformed valid_sec"],
  ];
  for (const [name, change, want] of cases) {
    test(name, () => {
      const base = { link: ref("wan1"), address: ip4("192.0.2.5"), prefixLength: 24, validSec: 1 };
      assert.equal(
        outcome(() => address.checkPutAddress({ ...base, ...change }, context)),
        want,
      );
    });
  }

  test("refuses the seventeenth on one link, but refreshes the sixteenth", () => {
    const many = Array.from({ length: 16 }, (_, at) => held(2, `192.0.2.${at + 10}/24`));
    const full = { ...context, facts: factsWith(many) };
    const put = (text: string, prefixLength: number) => () =>
      address.checkPutAddress(
        { link: ref("wan1"), address: ip4(text), prefixLength, validSec: 1 },
        full,
      );
    assert.equal(outcome(put("192.0.2.99", 24)), "not-permitted address");
    assert.equal(outcome(put("192.0.2.25", 24)), "ok");
    // The same number once more, as another address to the kernel.
    assert.equal(outcome(put("192.0.2.25", 25)), "not-permitted address");
  });
});

describe("checkDeleteAddress()", () => {
  const cases = [
    { name: "finds ours", on: "wan1", length: 24, want: 1 },
    { name: "finds nothing of another length", on: "wan1", length: 25, want: 0 },
    { name: "finds nothing on another link", on: "wan2", length: 24, want: 0 },
  ];
  for (const { name, on, length, want } of cases) {
    test(name, () => {
      const request = { link: ref(on), address: ip4("192.0.2.2"), prefixLength: length };
      assert.equal(address.checkDeleteAddress(request, context).length, want);
    });
  }

  test("refuses one of another program", () => {
    const foreign = factsWith([held(2, "192.0.2.2/24", 0)]);
    const request = { link: ref("wan1"), address: ip4("192.0.2.2"), prefixLength: 24 };
    const check = () => address.checkDeleteAddress(request, { ...context, facts: foreign });
    assert.equal(outcome(check), "foreign");
  });
});

describe("checkPutRoute()", () => {
  const main = { table: 254, destination: prefix4("0.0.0.0/0"), metric: 5 };
  const cases: [string, Partial<PutRoute>, string][] = [
    ["accepts a connected route", {}, "ok"],
    [
      "accepts a default in a table",
      { destination: prefix4("0.0.0.0/0"), gateway: ip4("192.0.2.1") },
      "ok",
    ],
    ["accepts the first table", { table: 7701 }, "ok"],
    ["accepts the last table", { table: 9699 }, "ok"],
    ["refuses the table before", { table: 7700 }, "not-permitted table"],
    ["refuses the table behind", { table: 9700 }, "not-permitted table"],
    ["refuses the local table", { table: 255 }, "not-permitted table"],
    ["refuses table 0", { table: 0 }, "not-permitted table"],
    ["accepts a default in main", main, "ok"],
    [
      "refuses another destination in main",
      { ...main, destination: prefix4("198.51.100.0/24") },
      "not-permitted destination",
    ],
    ["refuses metric 0 in main", { ...main, metric: 0 }, "not-permitted metric"],
    ["refuses metric 40000 in main", { ...main, metric: 40_000 }, "not-permitted metric"],
    ["refuses unreachable in main", { ...main, type: RouteType.UNREACHABLE }, "not-permitted type"],
    ["refuses a type of 0", { type: RouteType.UNSPECIFIED }, "malformed type"],
    ["accepts blackhole", { type: RouteType.BLACKHOLE }, "ok"],
    [
      "refuses blackhole by a gateway",
      { type: RouteType.BLACKHOLE, gateway: ip4("192.0.2.1") },
      "malformed gateway",
    ],
    [
      "refuses throw with a source",
      { type: RouteType.THROW, preferredSource: ip4("192.0.2.2") },
      "malformed type",
    ],
    ["refuses no destination", { destination: undefined }, "malformed destination"],
    ["refuses host bits", { destination: prefix4("192.0.2.1/24") }, "malformed destination"],
    ["refuses /33", { destination: { network: 0, length: 33 } }, "malformed destination"],
    ["refuses 127/8", { destination: prefix4("127.0.0.0/9") }, "not-permitted destination"],
    ["refuses 224/4", { destination: prefix4("224.0.0.0/3") }, "not-permitted destination"],
    ["refuses 240/4", { destination: prefix4("255.255.255.255/32") }, "not-permitted destination"],
    ["refuses a multicast gateway", { gateway: ip4("224.0.0.1") }, "not-permitted gateway"],
    ["refuses an own gateway", { gateway: ip4("192.0.2.2") }, "not-permitted gateway"],
    [
      "accepts a gateway that another uplink has as its address",
      { gateway: ip4("192.0.2.3") },
      "ok",
    ],
    ["accepts an own source", { preferredSource: ip4("192.0.2.2") }, "ok"],
    [
      "refuses another link's source",
      { preferredSource: ip4("192.0.2.3") },
      "not-permitted preferred_source",
    ],
    ["refuses onlink without a gateway", { onlink: true }, "malformed gateway"],
    ["refuses a tiny MTU", { mtu: 575 }, "malformed mtu"],
    ["refuses a huge MTU", { mtu: 9217 }, "malformed mtu"],
    ["refuses a link off the list", { link: ref("docker0") }, "not-permitted link"],
  ];
  const base = {
    ...{ link: ref("wan1"), table: 7702, type: RouteType.UNICAST, metric: 0, onlink: false },
    destination: prefix4("192.0.2.0/24"),
  };
  for (const [name, change, want] of cases) {
    test(name, () => {
      assert.equal(
        outcome(() => route.checkPutRoute({ ...base, ...change }, context)),
        want,
      );
    });
  }

  test("refuses main where helper.json does", () => {
    const mainDefault = { ...DEFAULT_CONFIG.mainDefault, allow: false };
    const closed = { ...context, allow: { ...context.allow, mainDefault } };
    const check = () => route.checkPutRoute({ ...base, ...main }, closed);
    assert.equal(outcome(check), "not-permitted table");
  });

  test("checks a delete in the same way", () => {
    const request = { ...base, table: 255 };
    assert.equal(
      outcome(() => route.checkDeleteRoute(request, context)),
      "not-permitted table",
    );
    assert.equal(
      outcome(() => route.checkDeleteRoute(base, context)),
      "ok",
    );
  });
});

describe("checkDeleteRoute() without a link", () => {
  const base = { link: undefined, table: 7702, metric: 0, destination: prefix4("0.0.0.0/0") };
  const cases: [string, Partial<PutRoute>, string][] = [
    ["accepts blackhole", { type: RouteType.BLACKHOLE }, "ok"],
    ["accepts unreachable", { type: RouteType.UNREACHABLE }, "ok"],
    ["accepts throw", { type: RouteType.THROW }, "ok"],
    ["refuses unicast", { type: RouteType.UNICAST }, "malformed link"],
    ["refuses a table out of range", { type: RouteType.THROW, table: 7700 }, "not-permitted table"],
    ["refuses main", { type: RouteType.BLACKHOLE, table: 254, metric: 5 }, "not-permitted type"],
    [
      "refuses a gateway",
      { type: RouteType.THROW, gateway: ip4("192.0.2.1") },
      "malformed gateway",
    ],
  ];
  for (const [name, change, want] of cases) {
    test(name, () => {
      const request = { ...base, type: RouteType.UNSPECIFIED, ...change };
      assert.equal(
        outcome(() => route.checkDeleteRoute(request, context)),
        want,
      );
    });
  }

  test("and yet PutRoute needs one", () => {
    const request = { ...base, type: RouteType.BLACKHOLE, onlink: false };
    assert.equal(
      outcome(() => route.checkPutRoute(request, context)),
      "malformed link",
    );
  });
});

describe("checkDhcpMessage()", () => {
  const payload = (...changes: readonly [number, readonly number[]][]) => {
    const bytes = Buffer.alloc(300);
    bytes.set([1, 1, 6]);
    bytes.set(MAC, 28);
    bytes.set([0x63, 0x82, 0x53, 0x63], 236);
    for (const [at, change] of changes) bytes.set(change, at);
    return bytes;
  };
  const own: [number, number[]] = [12, [192, 0, 2, 2]];
  const server = ip4("192.0.2.1");
  const cases: [string, Partial<DhcpMessage>, string][] = [
    ["accepts a broadcast without an address", {}, "ok"],
    ["accepts a broadcast with an own one", { payload: payload(own) }, "ok"],
    ["accepts unicast from it", { payload: payload(own), server, source: ip4("192.0.2.2") }, "ok"],
    [
      "refuses ciaddr of another link",
      { payload: payload([12, [192, 0, 2, 3]]) },
      "not-permitted ciaddr",
    ],
    ["refuses unicast without a source", { payload: payload(own), server }, "not-permitted source"],
    ["refuses unicast from ciaddr 0", { server, source: 0 }, "not-permitted source"],
    [
      "refuses unicast to multicast",
      { payload: payload(own), server: ip4("224.0.0.1"), source: ip4("192.0.2.2") },
      "not-permitted server",
    ],
    ["refuses a source for broadcast", { source: ip4("192.0.2.2") }, "malformed source"],
    ["refuses 239 bytes", { payload: payload().subarray(0, 239) }, "malformed payload"],
    ["accepts 1472 bytes", { payload: Buffer.concat([payload(), Buffer.alloc(1172)]) }, "ok"],
    [
      "refuses 1473 bytes",
      { payload: Buffer.concat([payload(), Buffer.alloc(1173)]) },
      "malformed payload",
    ],
    ["refuses BOOTREPLY", { payload: payload([0, [2]]) }, "malformed payload"],
    ["refuses another htype", { payload: payload([1, [6]]) }, "malformed payload"],
    ["refuses another hlen", { payload: payload([2, [8]]) }, "malformed payload"],
    ["refuses hops", { payload: payload([3, [1]]) }, "malformed payload"],
    ["refuses giaddr", { payload: payload([27, [1]]) }, "malformed payload"],
    ["refuses another chaddr", { payload: payload([33, [9]]) }, "malformed payload"],
    ["refuses a long chaddr", { payload: payload([43, [9]]) }, "malformed payload"],
    ["refuses no cookie", { payload: payload([239, [0]]) }, "malformed payload"],
    [
      "accepts raw IP with hlen 0",
      { link: ref("wan-lte"), payload: payload([2, [0]], [28, [0, 0, 0, 0, 0, 0]]) },
      "ok",
    ],
    ["refuses a MAC on raw IP", { link: ref("wan-lte") }, "malformed payload"],
    ["refuses PPP", { link: ref("wan-ppp") }, "not-permitted link"],
  ];
  for (const [name, change, want] of cases) {
    test(name, () => {
      const message = { link: ref("wan1"), payload: payload(), ...change };
      assert.equal(
        outcome(() => checkDhcpMessage(message, context)),
        want,
      );
    });
  }

  test("checkPacketLink() refuses a tunnel", () => {
    const gre = { ...ref("wan-gre"), mac: Buffer.alloc(0) };
    assert.equal(
      outcome(() => checkPacketLink(gre, context)),
      "not-permitted link",
    );
  });

  test("never throws anything but a fault", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1600 }), fc.nat(0xffff_ffff), (bytes, to) => {
        const message = { link: ref("wan1"), payload: Buffer.from(bytes), server: to };
        assert.notEqual(
          outcome(() => checkDhcpMessage(message, context)),
          "",
        );
      }),
    );
  });
});

test("encodeFault() says in one sentence what was attempted and why not", () => {
  const result = attempt(() =>
    route.checkDeleteRoute(
      {
        link: ref("docker0"),
        table: 1,
        type: RouteType.UNICAST,
        destination: undefined,
        metric: 0,
      },
      context,
    ),
  );
  assert.ok(!result.ok);
  const { text, field, errno } = encodeFault(result.error, "deleteRoute table=1");
  assert.equal(text, "Refused deleteRoute table=1: link must be one of wan*, and not lo");
  assert.deepEqual([field, errno], ["link", ""]);
});
