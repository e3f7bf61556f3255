// A request that breaks every rule is refused by the first one, in the order of the contract; with
// that mended by the next one, and so on. So no check can be got round by one that comes before it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type PutAddress, type PutRoute, RouteType, type Rule, RuleKind } from "@mnm/proto/helper";
import { ipv4FromUint32, networkOf, type PrefixLength } from "@mnm/proto/net";
import type { KernelAddress, KernelLink } from "../facts.js";
import { attempt } from "../fault.js";
import { DEFAULT_CONFIG } from "../start/config.js";
import { checkPutAddress } from "./address.js";
import { checkPutRoute } from "./route.js";
import { checkPutRule } from "./rule.js";

const MAC = Buffer.from("020000000001", "hex");
const ip4 = (text: string) =>
  ipv4FromUint32(Buffer.from(text.split(".").map(Number)).readUInt32BE(0));
const prefix4 = (text: string, length: number) => ({ network: ip4(text), length });

const LINKS: readonly KernelLink[] = ["wan1", "docker0"].map((name, at) => ({
  ...{ ifindex: at + 2, name, mac: MAC, hardware: 1 },
  ...{ isLoopback: false, isPointToPoint: false, isNoArp: false },
}));
const held = (ifindex: number, text: string): KernelAddress => {
  const address = ip4(text);
  const prefix = networkOf(address, 24 as PrefixLength);
  return { ifindex, address, peer: address, prefix, broadcast: undefined, protocol: 77 };
};
const ADDRESSES = [held(2, "192.0.2.2"), held(3, "198.51.100.1")];
const context = {
  allow: { ...DEFAULT_CONFIG, links: ["wan*"] },
  facts: {
    link: (ifindex: number) => LINKS.find((link) => link.ifindex === ifindex),
    addresses: () => ADDRESSES,
    addressesOf: (ifindex: number) => ADDRESSES.filter((one) => one.ifindex === ifindex),
    ownRoutesBy: () => [],
  },
};

/** What each refusal is about, from the worst request to one that is right. */
function refusals<Request>(
  worst: Request,
  mends: readonly Partial<Request>[],
  check: (request: Request) => unknown,
): readonly string[] {
  const wheres: string[] = [];
  let request = worst;
  for (const mend of [{}, ...mends]) {
    request = { ...request, ...mend };
    const result = attempt(() => check(request));
    wheres.push(result.ok ? "ok" : `${result.error.code} ${result.error.field}`);
  }
  return wheres;
}

const WRONG_LINK = [
  { ifindex: 99, name: "wan2", mac: Buffer.alloc(6) },
  { ifindex: 3, name: "wan2", mac: Buffer.alloc(6) },
  { ifindex: 3, name: "docker0", mac: Buffer.alloc(6) },
  { ifindex: 3, name: "docker0", mac: MAC },
];
const LINK = { ifindex: 2, name: "wan1", mac: MAC };
const LINK_REFUSALS = [
  "malformed link",
  "link-mismatch ifindex",
  "link-mismatch name",
  "link-mismatch mac",
  "not-permitted link",
];
const mendLink = [...WRONG_LINK, LINK].map((link) => ({ link }));

test("PutAddress", () => {
  const worst: PutAddress = {
    ...{ link: undefined, address: ip4("127.0.0.1"), prefixLength: 33, validSec: 0 },
    ...{ broadcast: ip4("192.0.2.1"), peer: ip4("224.0.0.1") },
  };
  const mends = [
    ...mendLink,
    { address: ip4("198.51.100.0") },
    { prefixLength: 24 },
    { address: ip4("198.51.100.2") },
    { broadcast: undefined },
    { peer: undefined },
    { address: ip4("192.0.2.3") },
    { validSec: 1 },
  ];
  assert.deepEqual(
    refusals(worst, mends, (request) => checkPutAddress(request, context)),
    [
      ...LINK_REFUSALS,
      "not-permitted address",
      "malformed prefix_length",
      "malformed address",
      "malformed broadcast",
      "not-permitted peer",
      "not-permitted address",
      "malformed valid_sec",
      "ok",
    ],
  );
});

test("PutRoute", () => {
  const worst: PutRoute = {
    ...{ link: undefined, table: 255, type: 0, destination: prefix4("127.0.0.1", 8), metric: 0 },
    ...{ gateway: ip4("224.0.0.1"), preferredSource: ip4("198.51.100.1"), onlink: false },
  };
  const mends = [
    ...mendLink,
    { type: RouteType.UNICAST },
    { destination: prefix4("127.0.0.0", 8) },
    { table: 254 },
    { table: 7701 },
    { destination: prefix4("203.0.113.0", 24) },
    { gateway: ip4("192.0.2.2") },
    { gateway: ip4("192.0.2.1") },
    { preferredSource: ip4("192.0.2.2") },
  ];
  assert.deepEqual(
    refusals(worst, mends, (request) => checkPutRoute(request, context)),
    [
      ...LINK_REFUSALS,
      "malformed type",
      "malformed destination",
      "not-permitted table",
      "not-permitted destination",
      "not-permitted destination",
      "not-permitted gateway",
      "not-permitted gateway",
      "not-permitted preferred_source",
      "ok",
    ],
  );
});

test("PutRule", () => {
  const worst: Rule = {
    ...{ kind: 0, device: "", from: ip4("127.0.0.1"), to: prefix4("0.0.0.1", 0) },
    ...{ table: 255, metric: 1, priority: 0, fwmark: 0 },
  };
  const mends = [
    { kind: RuleKind.SOURCE_TO_CONNECTED },
    { metric: 0 },
    { to: prefix4("0.0.0.0", 0) },
    { to: prefix4("198.51.100.0", 24) },
    { table: 7701 },
    { from: ip4("198.51.100.1") },
    { from: ip4("192.0.2.2") },
    { to: prefix4("192.0.2.0", 24) },
  ];
  assert.deepEqual(
    refusals(worst, mends, (rule) => checkPutRule({ link: LINK, rule }, context)),
    [
      "malformed kind",
      "malformed metric",
      "malformed to",
      "not-permitted to",
      "not-permitted table",
      "not-permitted from",
      "not-permitted from",
      "not-permitted to",
      "ok",
    ],
  );
});
