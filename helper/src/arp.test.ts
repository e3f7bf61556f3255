import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ArpMessage, ArpWatch, LinkRef } from "@mnm/proto/helper";
import { parseIpv4, parseIpv4Prefix } from "@mnm/proto/net";
import fc from "fast-check";
import { checkArpMessage, checkArpWatch } from "./arp-message.js";
import type { Facts, KernelLink, KernelRoute } from "./facts.js";
import { attempt } from "./fault.js";
import { arpFilter } from "./filters.js";
import { DEFAULT_CONFIG } from "./start/config.js";

function ip4(text: string) {
  const parsed = parseIpv4(text);
  assert.ok(parsed.ok, text);
  return parsed.value;
}

const MAC = Buffer.from("020000000002", "hex");

function link(ifindex: number, name: string, more: Partial<KernelLink> = {}): KernelLink {
  const plain = { hardware: 1, isLoopback: false, isPointToPoint: false, isNoArp: false };
  return { ifindex, name, mac: MAC, ...plain, ...more };
}

const LINKS = [
  link(1, "lo", { mac: Buffer.alloc(6), hardware: 772, isLoopback: true }),
  link(2, "wan1"),
  link(3, "wan2"),
  link(4, "docker0"),
  link(5, "wan-quiet", { isNoArp: true }),
  link(6, "wan-lte", { mac: Buffer.alloc(0), hardware: 65_534 }),
  link(7, "wan-ib", { mac: Buffer.alloc(20), hardware: 32 }),
];

function held(ifindex: number, text: string) {
  const prefix = parseIpv4Prefix("192.0.2.0/24");
  assert.ok(prefix.ok);
  const address = ip4(text);
  const rest = { prefix: prefix.value, broadcast: undefined, protocol: 77 };
  return { ifindex, address, peer: address, ...rest };
}

function routeBy(ifindex: number, gateway: string, table: number): KernelRoute {
  const what = { payload: Buffer.alloc(0), type: 1, protocol: 77 };
  const rest = { ...what, length: 0, network: 0, tos: 0, metric: 0 };
  return { ifindex, gateway: ip4(gateway), table, ...rest };
}

const ADDRESSES = [held(2, "192.0.2.2"), held(3, "192.0.2.3")];
const ROUTES = [
  routeBy(2, "192.0.2.1", 7701),
  routeBy(3, "192.0.2.11", 7702),
  routeBy(2, "192.0.2.12", 254),
  // Ends on the link.
  routeBy(2, "0.0.0.0", 7701),
];
const facts: Facts = {
  link: (ifindex) => LINKS.find((one) => one.ifindex === ifindex),
  addresses: () => ADDRESSES,
  addressesOf: (ifindex) => ADDRESSES.filter((one) => one.ifindex === ifindex),
  ownRoutesBy: (ifindex) => ROUTES.filter((one) => one.ifindex === ifindex),
};
const context = { allow: { ...DEFAULT_CONFIG, links: ["wan*", "lo"] }, facts };

function ref(name: string): LinkRef {
  const found = LINKS.find((one) => one.name === name);
  assert.ok(found);
  return { ifindex: found.ifindex, name, mac: Buffer.from(found.mac) };
}

/** `ok`, or the code and the field at fault. */
function outcome(check: () => unknown): string {
  const result = attempt(check);
  return result.ok ? "ok" : `${result.error.code} ${result.error.field}`.trim();
}

describe("checkArpMessage()", () => {
  const probe = (target: string): ArpMessage["kind"] => ({
    $case: "probe",
    value: { target: ip4(target) },
  });
  const announce = (address: string): ArpMessage["kind"] => ({
    $case: "announcement",
    value: { address: ip4(address) },
  });
  const ask = (sender: string, gateway: string, gatewayMac = ""): ArpMessage["kind"] => ({
    $case: "request",
    value: {
      ...{ sender: ip4(sender), gateway: ip4(gateway) },
      gatewayMac: Buffer.from(gatewayMac, "hex"),
    },
  });
  const own = "192.0.2.2";
  const router = "192.0.2.1";
  const unknown = { $case: "reply", value: {} } as unknown as ArpMessage["kind"];
  const cases: [string, ArpMessage["kind"], string][] = [
    ["accepts a probe for any host", probe("198.51.100.7"), "ok"],
    ["refuses one for 0.0.0.0", probe("0.0.0.0"), "not-permitted target"],
    ["refuses one for 127/8", probe("127.0.0.1"), "not-permitted target"],
    ["refuses one for multicast", probe("224.0.0.1"), "not-permitted target"],
    ["refuses one for all", probe("255.255.255.255"), "not-permitted target"],
    ["accepts an announcement of an own address", announce(own), "ok"],
    ["refuses one of another link's", announce("192.0.2.3"), "not-permitted address"],
    ["refuses one of a neighbour's", announce(router), "not-permitted address"],
    ["refuses one of 0.0.0.0", announce("0.0.0.0"), "not-permitted address"],
    ["accepts a request for the gateway", ask(own, router), "ok"],
    ["accepts one to it alone", ask(own, router, "020000000001"), "ok"],
    ["refuses another link's sender", ask("192.0.2.3", router), "not-permitted sender"],
    ["refuses the gateway as sender", ask(router, router), "not-permitted sender"],
    ["refuses sender 0.0.0.0", ask("0.0.0.0", router), "not-permitted sender"],
    ["refuses who is no gateway", ask(own, "192.0.2.9"), "not-permitted gateway"],
    ["refuses another link's gateway", ask(own, "192.0.2.11"), "not-permitted gateway"],
    ["refuses a gateway of main alone", ask(own, "192.0.2.12"), "not-permitted gateway"],
    ["refuses gateway 0.0.0.0", ask(own, "0.0.0.0"), "not-permitted gateway"],
    ["refuses a group of stations", ask(own, router, "010000000001"), "malformed gateway_mac"],
    ["refuses all of them", ask(own, router, "ffffffffffff"), "malformed gateway_mac"],
    ["refuses station zero", ask(own, router, "000000000000"), "malformed gateway_mac"],
    ["refuses five bytes", ask(own, router, "0200000000"), "malformed gateway_mac"],
    ["refuses seven bytes", ask(own, router, "02000000000100"), "malformed gateway_mac"],
    ["refuses none of the kinds", undefined, "malformed kind"],
    ["refuses an unknown kind", unknown, "malformed kind"],
  ];
  for (const [name, kind, want] of cases) {
    test(name, () => {
      assert.equal(
        outcome(() => checkArpMessage({ link: ref("wan1"), kind }, context)),
        want,
      );
    });
  }

  const links: [string, LinkRef | undefined, string][] = [
    ["refuses no link", undefined, "malformed link"],
    ["refuses a link off the list", ref("docker0"), "not-permitted link"],
    ["refuses lo", ref("lo"), "not-permitted link"],
    ["refuses a link without ARP", ref("wan-quiet"), "not-permitted link"],
    ["refuses raw IP", ref("wan-lte"), "not-permitted link"],
    ["refuses InfiniBand", { ...ref("wan-ib"), mac: Buffer.alloc(0) }, "not-permitted link"],
    ["refuses another MAC", { ...ref("wan1"), mac: Buffer.alloc(6) }, "link-mismatch mac"],
    ["refuses another name", { ...ref("wan1"), name: "wan2" }, "link-mismatch name"],
    ["refuses another ifindex", { ...ref("wan1"), ifindex: 9 }, "link-mismatch ifindex"],
  ];
  for (const [name, named, want] of links) {
    test(`${name}, for a message and for a watch`, () => {
      const message = { link: named, kind: probe(own) };
      const watch = { link: named, addresses: [] };
      assert.deepEqual(
        [
          outcome(() => checkArpMessage(message, context)),
          outcome(() => checkArpWatch(watch, context)),
        ],
        [want, want],
      );
    });
  }
});

describe("checkArpWatch()", () => {
  const cases: [string, readonly string[], string][] = [
    ["accepts none, which ends the watch", [], "ok"],
    ["accepts four of any hosts", ["192.0.2.1", "192.0.2.2", "10.0.0.1", "223.255.255.1"], "ok"],
    ["refuses five", Array(5).fill("192.0.2.1"), "not-permitted addresses"],
    ["refuses 0.0.0.0", ["192.0.2.1", "0.0.0.0"], "not-permitted addresses"],
    ["refuses 127/8", ["127.0.0.1"], "not-permitted addresses"],
    ["refuses multicast", ["239.1.1.1"], "not-permitted addresses"],
    ["refuses 240/4", ["255.255.255.255"], "not-permitted addresses"],
  ];
  for (const [name, addresses, want] of cases) {
    test(name, () => {
      const watch: ArpWatch = { link: ref("wan1"), addresses: addresses.map(ip4) };
      assert.equal(
        outcome(() => checkArpWatch(watch, context)),
        want,
      );
    });
  }
});

/** What the kernel knows of a packet beside its bytes. */
interface Ancillary {
  readonly isTagged?: boolean;
  readonly type?: number;
}

/** What a load puts into the accumulator; undefined: it is beyond the end of the packet. */
function load(code: number, k: number, packet: Buffer, beside: Ancillary): number | undefined {
  if (k === 0xffff_f004) return beside.type ?? 0;
  if (k === 0xffff_f030) return beside.isTagged === true ? 1 : 0;
  if (code === 0x80) return packet.length;
  // The length of an IPv4 header, into a register that nothing here uses; but its byte must be there.
  if (code === 0xb1) return packet.length === 0 ? undefined : 0;
  const size = code === 0x20 ? 4 : 2;
  return k + size > packet.length ? undefined : packet.readUIntBE(k, size);
}

const COMPARISONS = new Map([
  [0x15, (a: number, k: number) => a === k],
  [0x25, (a: number, k: number) => a > k],
  [0x35, (a: number, k: number) => a >= k],
]);

/**
 * Runs a filter as the kernel does: the bytes of the packet that are accepted, and 0 where it is
 * rejected. Only what our program uses, and it throws on everything else.
 */
function run(filter: Buffer, packet: Buffer, beside: Ancillary = {}): number {
  let accumulator = 0;
  for (let at = 0; at < filter.length; at += 8) {
    const code = filter.readUInt16LE(at);
    const k = filter.readUInt32LE(at + 4);
    const compare = COMPARISONS.get(code);
    if (code === 0x06) return Math.min(k, packet.length);
    if (compare !== undefined) {
      at += 8 * filter.readUInt8(at + (compare(accumulator, k) ? 2 : 3));
    } else {
      assert.ok([0x20, 0x28, 0x80, 0xb1].includes(code), `unknown instruction ${code}`);
      const loaded = load(code, k, packet, beside);
      if (loaded === undefined) return 0;
      accumulator = loaded;
    }
  }
  throw new Error("The filter has no end");
}

describe("arpFilter()", () => {
  const OURS = "c0000202"; // 192.0.2.2
  const ROUTER = "c0000201"; // 192.0.2.1
  const OTHER = "c0000209";
  const watched = [ip4("192.0.2.2"), ip4("192.0.2.1")];
  const filter = arpFilter(watched);
  const packet = (sender: string, target: string, head = "0001080006040001") =>
    Buffer.from(`${head}020000000009${sender}000000000000${target}`, "hex");

  const cases: [string, Buffer, Ancillary, boolean][] = [
    ["a request of the first watched", packet(OURS, OTHER), {}, true],
    ["a request of the last watched", packet(ROUTER, OTHER), {}, true],
    ["an announcement", packet(OURS, OURS), {}, true],
    ["a reply", packet(ROUTER, OURS, "0001080006040002"), {}, true],
    ["a probe for the first", packet("00000000", OURS), {}, true],
    ["a probe for the last", packet("00000000", ROUTER), {}, true],
    ["a broadcast", packet(OURS, OTHER), { type: 1 }, true],
    ["a multicast", packet(OURS, OTHER), { type: 2 }, true],
    ["a probe for another", packet("00000000", OTHER), {}, false],
    ["a probe for nobody", packet("00000000", "00000000"), {}, false],
    ["another's request for a watched one", packet(OTHER, OURS), {}, false],
    ["to another station", packet(OURS, OTHER), { type: 3 }, false],
    ["our own", packet(OURS, OTHER), { type: 4 }, false],
    ["tagged", packet(OURS, OTHER), { isTagged: true }, false],
    ["of another hardware", packet(OURS, OTHER, "0006080006040001"), {}, false],
    ["of another protocol", packet(OURS, OTHER, "000186dd06040001"), {}, false],
    ["hardware addresses of eight bytes", packet(OURS, OTHER, "0001080008040001"), {}, false],
    ["addresses of sixteen bytes", packet(OURS, OTHER, "0001080006100001"), {}, false],
    ["operation 0", packet(OURS, OTHER, "0001080006040000"), {}, false],
    ["RARP's operation 3", packet(OURS, OTHER, "0001080006040003"), {}, false],
    ["InARP's operation 8", packet(OURS, OTHER, "0001080006040008"), {}, false],
    ["operation 0x0101", packet(OURS, OTHER, "0001080006040101"), {}, false],
    ["27 bytes, but a watched sender", packet(OURS, OTHER).subarray(0, 27), {}, false],
    ["17 bytes", packet(OURS, OTHER).subarray(0, 17), {}, false],
    ["nothing", Buffer.alloc(0), {}, false],
  ];
  for (const [name, bytes, ancillary, want] of cases) {
    test(`${want ? "lets pass" : "rejects"}: ${name}`, () => {
      assert.equal(run(filter, bytes, ancillary), want ? 28 : 0);
    });
  }

  test("cuts what a short frame is filled up with", () => {
    assert.equal(run(filter, Buffer.concat([packet(OURS, OTHER), Buffer.alloc(18)])), 28);
  });

  test("is what a few lines say it is, for any packet and any four addresses", () => {
    const word = fc.constantFrom(...watched, 0, 1, ip4("192.0.2.9"), ip4("198.51.100.1"));
    const some = fc.array(fc.constantFrom(...watched, ip4("198.51.100.1")), {
      minLength: 1,
      maxLength: 4,
    });
    const heads = ["0001080006040001", "0001080006040002", "0001080006040003", "0006080006040001"];
    let passed = 0;
    fc.assert(
      fc.property(fc.constantFrom(...heads), word, word, some, (head, from, to, list) => {
        const hex = (value: number) => value.toString(16).padStart(8, "0");
        const bytes = packet(hex(from), hex(to), head);
        const isQuestion = head.startsWith("000108") && /[12]$/.test(head);
        const isAbout =
          list.some((one) => one === from) || (from === 0 && list.some((one) => one === to));
        const want = isQuestion && isAbout ? 28 : 0;
        passed += want;
        assert.equal(run(arpFilter(list), bytes), want);
      }),
      { numRuns: 2000 },
    );
    assert.ok(passed > 0, "the property saw packets of both kinds");
  });
});
