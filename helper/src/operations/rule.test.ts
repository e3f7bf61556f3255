import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { LinkRef, Rule } from "@mnm/proto/helper";
import { RuleKind } from "@mnm/proto/helper";
import { parseIpv4, parseIpv4Prefix } from "@mnm/proto/net";
import type { KernelAddress, KernelLink } from "../facts.js";
import { attempt } from "../fault.js";
import { DEFAULT_CONFIG } from "../start/config.js";
import * as rule from "./rule.js";

const MAC = Buffer.from("020000000001", "hex");

// wan1 and wan2 are ours to touch, docker0 is not.
const LINKS: readonly KernelLink[] = ["wan1", "wan2", "docker0"].map((name, at) => ({
  ...{ ifindex: at + 2, name, mac: MAC, hardware: 1 },
  ...{ isLoopback: false, isPointToPoint: false, isNoArp: false },
}));
const ADDRESSES: readonly KernelAddress[] = ["192.0.2.2", "192.0.2.3", "198.51.100.1"].map(
  (text, at) => {
    const prefix = parseIpv4Prefix(text.replace(/\d+$/, "0/24"));
    assert.ok(prefix.ok);
    const address = ip4(text);
    const whose = { ifindex: at + 2, address, peer: address, broadcast: undefined };
    return { ...whose, prefix: prefix.value, protocol: 77 };
  },
);
const facts = {
  link: (ifindex: number) => LINKS.find((one) => one.ifindex === ifindex),
  addresses: () => ADDRESSES,
  addressesOf: (ifindex: number) => ADDRESSES.filter((one) => one.ifindex === ifindex),
  ownRoutesBy: () => [],
};
const context = { allow: { ...DEFAULT_CONFIG, links: ["wan*"] }, facts };

function ip4(text: string) {
  const parsed = parseIpv4(text);
  assert.ok(parsed.ok, text);
  return parsed.value;
}

function prefix4(text: string) {
  const [network = "", length] = text.split("/");
  return { network: ip4(network), length: Number(length) };
}

function ref(name: string): LinkRef {
  return { ifindex: LINKS.findIndex((one) => one.name === name) + 2, name, mac: MAC };
}

/** `ok`, or the code and the field at fault. */
function outcome(check: () => unknown): string {
  const result = attempt(check);
  return result.ok ? "ok" : `${result.error.code} ${result.error.field}`.trim();
}

describe("checkPutRule()", () => {
  const from = ip4("192.0.2.2");
  const to = prefix4("192.0.2.0/24");
  const table = 7701;
  const cases: [string, Partial<Rule>, string][] = [
    ["accepts oif", { kind: RuleKind.DEVICE, device: "wan1", table }, "ok"],
    [
      "refuses another oif",
      { kind: RuleKind.DEVICE, device: "wan2", table },
      "not-permitted device",
    ],
    ["refuses oif without a name", { kind: RuleKind.DEVICE, table }, "malformed device"],
    ["refuses oif without a table", { kind: RuleKind.DEVICE, device: "wan1" }, "malformed table"],
    [
      "refuses oif with from",
      { kind: RuleKind.DEVICE, device: "wan1", table, from },
      "malformed from",
    ],
    [
      "refuses oif with a metric",
      { kind: RuleKind.DEVICE, device: "wan1", table, metric: 1 },
      "malformed metric",
    ],
    [
      "refuses table main",
      { kind: RuleKind.DEVICE, device: "wan1", table: 254 },
      "not-permitted table",
    ],
    ["accepts from to", { kind: RuleKind.SOURCE_TO_CONNECTED, from, to, table }, "ok"],
    [
      "refuses from to elsewhere",
      { kind: RuleKind.SOURCE_TO_CONNECTED, from, to: prefix4("192.0.2.0/25"), table },
      "not-permitted to",
    ],
    ["accepts from", { kind: RuleKind.SOURCE, from, table }, "ok"],
    [
      "refuses from of another link",
      { kind: RuleKind.SOURCE, from: ip4("192.0.2.3"), table },
      "not-permitted from",
    ],
    ["refuses from 0.0.0.0", { kind: RuleKind.SOURCE, from: 0, table }, "not-permitted from"],
    [
      "accepts unreachable before the address",
      { kind: RuleKind.SOURCE_UNREACHABLE, from: ip4("192.0.2.99") },
      "ok",
    ],
    [
      "refuses unreachable with a table",
      { kind: RuleKind.SOURCE_UNREACHABLE, from, table },
      "malformed table",
    ],
    [
      "refuses unreachable for another link's",
      { kind: RuleKind.SOURCE_UNREACHABLE, from: ip4("198.51.100.1") },
      "not-permitted from",
    ],
    ["accepts to", { kind: RuleKind.CONNECTED, to, table, metric: 9999 }, "ok"],
    [
      "refuses metric 10000",
      { kind: RuleKind.CONNECTED, to, table, metric: 10_000 },
      "not-permitted metric",
    ],
    ["refuses metric 0", { kind: RuleKind.CONNECTED, to, table }, "malformed metric"],
    [
      "refuses to /0",
      { kind: RuleKind.CONNECTED, to: prefix4("0.0.0.0/0"), table, metric: 1 },
      "not-permitted to",
    ],
    [
      "refuses to with host bits",
      { kind: RuleKind.CONNECTED, to: prefix4("192.0.2.1/24"), table, metric: 1 },
      "malformed to",
    ],
    [
      "refuses main without defaults with a link",
      { kind: RuleKind.MAIN_WITHOUT_DEFAULTS },
      "malformed link",
    ],
    ["refuses kind 0", {}, "malformed kind"],
  ];
  const none: Rule = {
    ...{ kind: RuleKind.UNSPECIFIED, device: "", to: undefined, table: 0, metric: 0 },
    ...{ priority: 0, fwmark: 0 },
  };
  for (const [name, change, want] of cases) {
    test(name, () => {
      const request = { link: ref("wan1"), rule: { ...none, ...change } };
      assert.equal(
        outcome(() => rule.checkPutRule(request, context)),
        want,
      );
    });
  }

  const user = { kind: RuleKind.UID, uid: 1000, table, priority: 9600 };
  const mark = { kind: RuleKind.FWMARK, fwmark: 7, table, priority: 9899 };
  const incoming = { kind: RuleKind.IIF, device: "docker0", table, priority: 9700 };
  const listed = { uids: [1000, 0], fwmarks: [7], iifs: ["docker0"] };
  const selectors: [string, Partial<Rule>, string][] = [
    ["accepts a listed user", user, "ok"],
    ["accepts user 0 where it is listed", { ...user, uid: 0 }, "ok"],
    ["refuses another user", { ...user, uid: 1001 }, "not-permitted uid"],
    ["refuses no user", { ...user, uid: undefined }, "malformed uid"],
    ["accepts a listed mark", mark, "ok"],
    ["refuses another mark", { ...mark, fwmark: 8 }, "not-permitted fwmark"],
    ["refuses mark 0, which selects nearly all", { ...mark, fwmark: 0 }, "malformed fwmark"],
    ["accepts a listed incoming link", incoming, "ok"],
    ["refuses another incoming link", { ...incoming, device: "wan1" }, "not-permitted device"],
    [
      "refuses an incoming lo that is not listed",
      { ...incoming, device: "lo" },
      "not-permitted device",
    ],
    ["refuses the priority before", { ...user, priority: 9599 }, "not-permitted priority"],
    ["refuses the priority behind", { ...user, priority: 9900 }, "not-permitted priority"],
    ["refuses no priority", { ...user, priority: 0 }, "malformed priority"],
    [
      "refuses a priority for another kind",
      { kind: RuleKind.DEVICE, device: "wan1", table, priority: 9600 },
      "malformed priority",
    ],
    ["refuses a user with a mark", { ...user, fwmark: 7 }, "malformed fwmark"],
    ["refuses a user with an address", { ...user, from }, "malformed from"],
    ["refuses table main for a user", { ...user, table: 254 }, "not-permitted table"],
    ["refuses no table", { ...mark, table: 0 }, "malformed table"],
  ];
  for (const [name, change, want] of selectors) {
    test(`selectors: ${name}`, () => {
      const allow = { ...context.allow, selectors: listed };
      const request = { link: ref("wan1"), rule: { ...none, ...change } };
      assert.equal(
        outcome(() => rule.checkPutRule(request, { ...context, allow })),
        want,
      );
    });
  }

  test("selectors: by default none is listed, and yet each may be deleted", () => {
    const one = (change: Partial<Rule>) => ({ link: ref("wan1"), rule: { ...none, ...change } });
    const outcomes = [user, mark, incoming].map((change) =>
      outcome(() => rule.checkPutRule(one(change), context)),
    );
    assert.deepEqual(outcomes, [
      "not-permitted uid",
      "not-permitted fwmark",
      "not-permitted device",
    ]);
    for (const change of [user, mark, incoming]) {
      assert.equal(
        outcome(() => rule.checkDeleteRule(one(change), context)),
        "ok",
      );
    }
  });

  test("isRulePriority() knows where the contract's rules stand", () => {
    const ours = [9000, 9400, 9500, 9600, 9899, 10_000, 10_500, 20_001, 29_999];
    const others = [0, 8999, 9001, 9401, 9599, 9900, 10_001, 20_000, 30_000, 32_766];
    assert.deepEqual(
      ours.filter((one) => !rule.isRulePriority(one)),
      [],
    );
    assert.deepEqual(others.filter(rule.isRulePriority), []);
  });

  test("accepts main without defaults for no link, and no other rule", () => {
    const of = (change: Partial<Rule>) => () =>
      rule.checkPutRule({ link: undefined, rule: { ...none, ...change } }, context);
    assert.equal(outcome(of({ kind: RuleKind.MAIN_WITHOUT_DEFAULTS })), "ok");
    assert.equal(outcome(of({ kind: RuleKind.SOURCE, from, table })), "malformed link");
  });

  test("a delete needs no link, but the same shape", () => {
    const of = (change: Partial<Rule>) => () =>
      rule.checkDeleteRule({ rule: { ...none, ...change } }, context);
    assert.equal(outcome(of({ kind: RuleKind.DEVICE, device: "long-gone", table })), "ok");
    assert.equal(outcome(of({ kind: RuleKind.DEVICE, device: "a/b", table })), "malformed device");
    assert.equal(outcome(of({ kind: RuleKind.SOURCE, from, table: 52 })), "not-permitted table");
  });
});
