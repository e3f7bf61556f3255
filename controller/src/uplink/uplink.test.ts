import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Config, DEFAULT_CONFIG, parseConfig } from "../config/index.js";
import { makeLink } from "../testing/make.js";
import {
  assignMetrics,
  decodeState,
  encodeState,
  freeSlot,
  identityOf,
  intentOf,
} from "./index.js";

function config(text: string): Config {
  const parsed = parseConfig(text, "test.yaml");
  if (!parsed.ok) throw new SyntaxError(JSON.stringify(parsed.error));
  return parsed.value;
}

describe("intentOf()", () => {
  const cases = [
    { name: "manages Ethernet hardware", link: { infoKind: undefined }, want: "dhcp" },
    { name: "ignores a veth", link: {}, want: "ignored" },
    {
      name: "ignores a port of a bridge",
      link: { infoKind: undefined, master: 3 },
      want: "ignored",
    },
    {
      name: "ignores a port of a bridge, whatever is said",
      link: { master: 3 },
      text: '"*": {}',
      want: "ignored",
    },
    {
      name: "ignores loopback, whatever is said",
      link: { loopback: true },
      text: '"*": {}',
      want: "ignored",
    },
    { name: "manages by entry whatever the kind", link: {}, text: '"wan*": {}', want: "dhcp" },
    { name: "adopts PPP", link: { hardwareType: 512, infoKind: undefined }, want: "adopt" },
    {
      name: "ignores what an entry ignores",
      link: { infoKind: undefined },
      text: '"wan*": { mode: ignore }',
      want: "ignored",
    },
  ];
  for (const { name, link, text, want } of cases) {
    test(name, () => {
      const chosen = text === undefined ? DEFAULT_CONFIG : config(`links: { ${text} }`);
      const intent = intentOf(makeLink(1, link as never), chosen);
      assert.equal(intent.kind === "managed" ? intent.method.kind : intent.kind, want);
    });
  }
});

describe("identityOf()", () => {
  const free = () => false;
  test("prefers the configured match, then the bus path, then the name", () => {
    const link = makeLink(1, { parentDevice: "1-1.3" });
    const { links } = config("links: { modem: { match: { path: 1-1.3 } } }");
    assert.equal(identityOf(link, links[0], free), "path:1-1.3");
    assert.equal(identityOf(link, undefined, free), "bus:1-1.3");
    assert.equal(identityOf(makeLink(1), undefined, free), "name:wan1");
  });

  test("tells two links of one bus path apart by name", () => {
    const link = makeLink(2, { parentDevice: "0000:00:05.0" });
    const taken = (identity: string) => identity === "bus:0000:00:05.0";
    assert.equal(identityOf(link, undefined, taken), "bus:0000:00:05.0/wan2");
  });
});

describe("assignMetrics()", () => {
  const nobody = { foreign: new Set<number>(), absent: new Set<number>() };
  const claim = (identity: string, change = {}) => ({
    identity,
    kind: "wired" as const,
    runtime: undefined,
    persisted: undefined,
    configured: undefined,
    automatic: undefined,
    ...change,
  });

  test("gives automatic ones by kind, lowest first, skipping what is reserved", () => {
    const claims = [
      claim("a"),
      claim("b"),
      claim("c", { kind: "wlan" }),
      claim("d", { kind: "wwan" }),
    ];
    const assigned = assignMetrics(claims, { foreign: new Set([1000]), absent: new Set([1001]) });
    assert.deepEqual(
      [...assigned.values()].map(({ value }) => value),
      [1002, 1003, 4000, 7000],
    );
  });

  test("prefers run time to persisted to configured to automatic", () => {
    const all = { runtime: 1, persisted: 2, configured: 3, automatic: 1004 };
    const claims = [
      claim("a", all),
      claim("b", { ...all, runtime: undefined }),
      claim("c", { configured: 3 }),
    ];
    const assigned = assignMetrics(claims, nobody);
    assert.deepEqual(assigned.get("a"), { value: 1, source: "runtime" });
    assert.deepEqual(assigned.get("b"), { value: 2, source: "persisted" });
    assert.deepEqual(assigned.get("c"), { value: 3, source: "configured" });
  });

  test("never gives one metric twice, and always gives one", () => {
    const metric = fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined });
    const anyClaim = fc.record({
      runtime: metric,
      persisted: metric,
      configured: metric,
      automatic: metric,
    });
    fc.assert(
      fc.property(fc.array(anyClaim, { maxLength: 12 }), (changes) => {
        const claims = changes.map((change, index) => claim(`link ${index}`, change));
        const assigned = assignMetrics(claims, nobody);
        assert.equal(assigned.size, claims.length);
        assert.equal(new Set([...assigned.values()].map(({ value }) => value)).size, claims.length);
      }),
    );
  });
});

describe("freeSlot()", () => {
  const record = (slot: number, usedAt: number) =>
    ({ slot, usedAt, automaticMetric: undefined, persistedMetric: undefined }) as const;

  test("gives the lowest free one", () => {
    const identities = new Map([
      ["a", record(1, 1)],
      ["b", record(3, 2)],
    ]);
    assert.deepEqual(
      freeSlot(identities, () => true),
      { slot: 2, evicted: undefined },
    );
  });

  test("takes that of the link longest absent when all are given", () => {
    const identities = new Map(
      Array.from({ length: 1999 }, (_, index) => [
        `link ${index}`,
        record(index + 1, 5000 - index),
      ]),
    );
    const isPresent = (identity: string) => identity === "link 1998";
    assert.deepEqual(freeSlot(identities, isPresent), { slot: 1998, evicted: "link 1997" });
    assert.equal(
      freeSlot(identities, () => true),
      undefined,
    );
  });
});

describe("decodeState()", () => {
  const state = {
    identities: new Map([
      ["name:wan1", { slot: 1, automaticMetric: 1000, persistedMetric: undefined, usedAt: 7 }],
    ]),
    settingsFound: new Map([
      ["name:wan1", { bootId: "b", ifindex: 3, name: "wan1", mac: "", values: { rpFilter: 1 } }],
    ]),
  };

  test("is the inverse of encodeState(), through JSON", () => {
    assert.deepEqual(decodeState(JSON.parse(JSON.stringify(encodeState(state)))), state);
  });

  test("keeps what makes sense of damaged state, and never throws", () => {
    const damaged = { version: 1, identities: { a: { slot: 0 }, b: { slot: 2 }, c: { slot: 2 } } };
    assert.deepEqual([...decodeState(damaged).identities.keys()], ["b"]);
    fc.assert(fc.property(fc.anything(), (value) => void decodeState(value)));
  });
});
