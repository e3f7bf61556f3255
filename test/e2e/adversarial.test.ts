import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { strangerCases } from "./stranger-cases.js";
import { corpusCases, type Expectation, type WireCase, withoutCorpus } from "./wire-cases.js";
import {
  GOOD_LEASE_SEC,
  type LeaseReport,
  type Played,
  RENEWED_LEASE_SEC,
  refusals,
  WirePlay,
} from "./wire-play.js";

const INFINITE_SEC = 0xffff_ffff;
const LINK_MTU = 1500;
/** What the corpus calls a route without a gateway. */
const ON_LINK = "onlink";

describe("replies that strangers send to the running daemon", () => {
  const corpus = withoutCorpus === false ? corpusCases() : [];
  const cases = [...corpus, ...strangerCases()];
  let play: WirePlay;
  let played: ReadonlyMap<WireCase, Played>;
  before(async () => {
    play = await WirePlay.start(cases);
    played = await play.observe();
  });
  after(() => play?.[Symbol.asyncDispose]());

  test("all 87 of the corpus were played", { skip: withoutCorpus }, () => {
    assert.equal(corpus.length, 87);
    assert.equal(played.size, cases.length);
  });

  for (const one of cases) {
    test(`${one.name}: ${one.verdict}, ${one.why}`, () => {
      const seen = played.get(one);
      assert.ok(seen !== undefined);
      checkCase(one, seen);
    });
  }

  const byHelper = [
    ["frame: a wrong IP checksum", "refused-checksum"],
    ["frame: UDP longer than IP", "refused-malformed"],
  ] as const;
  for (const [name, counter] of byHelper) {
    test(`${name}: that the helper dropped it is counted for the link, as ${counter}`, () => {
      const [, seen] = [...played].find(([one]) => one.name === name) ?? [];
      assert.equal(seen?.late.dhcp.counters[counter], 1);
    });
  }

  test("the log has none of their text as it came", () => {
    const log = play.controller?.log() ?? "";
    assert.match(log, /"DHCP reply ignored"/, "this is the debug log");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for
    assert.doesNotMatch(log, /[\x00-\x09\x0b-\x1f\x7f-\u{10ffff}]/u);
    assert.doesNotMatch(log, /pwn|passwd|6\.6\.6\.6|wpad/);
    for (const line of log.trim().split("\n")) JSON.parse(line);
  });
});

function checkCase(one: WireCase, seen: Played): void {
  const { verdict, expect } = one;
  const { outcome, messages, early, late } = seen;
  const allowed: (string | undefined)[] = [verdict, expect.or_verdict];
  // The kernel's filter may already have dropped it.
  if (allowed.includes("drop")) allowed.push("never");
  const story = messages.map(({ message }) => message).join(" ");
  assert.ok(allowed.includes(outcome), `${outcome}, not ${verdict}: ${story}`);
  assert.ok(seen.packets <= 8, `${seen.packets} packets: no busy loop`);

  const addresses = new Set([`${late.lease?.address}`]);
  if (early.lease !== null) addresses.add(early.lease.address);
  assert.deepEqual(new Set(seen.addresses.keys()), addresses, "no other was ever on the link");

  switch (outcome) {
    case "accept":
      assert.equal(story, "discover request");
      checkAccepted(one, seen);
      return;
    case "drop":
    case "never":
      assert.equal(story, one.state === "BOUND" ? "discover request request" : "discover request");
      assert.equal(refusals(late), outcome === "drop" ? 1 : 0);
      checkGood(late.lease, one.state === "BOUND" ? RENEWED_LEASE_SEC : GOOD_LEASE_SEC);
      return;
    case "decline":
      assert.equal(story, "discover request decline discover request");
      checkWait(seen);
      checkGood(late.lease, GOOD_LEASE_SEC);
      return;
    case "restart":
      assert.equal(story, "discover request discover request");
      checkGood(late.lease, GOOD_LEASE_SEC);
  }
}

/**
 * After a DECLINE: ten seconds of silence, of which a busy machine may hear half, and no address
 * before the next request.
 */
function checkWait({ messages, addresses }: Played): void {
  const [, , declined = 0, again = 0, requested = 0] = messages.map(({ atMs }) => atMs);
  assert.ok(again - declined > 5_000, `asked again after ${again - declined} ms`);
  for (const [address, at] of addresses) assert.ok(at >= requested, `${address} came too early`);
}

/** A good reply was heard in the end. */
function checkGood(lease: LeaseReport | null, leaseSec: number): void {
  assert.equal(lease?.lease_sec, leaseSec);
  assert.equal(lease.host_name, null);
}

function checkAccepted({ state, expect }: WireCase, { early, routes }: Played): void {
  const { lease } = early;
  assert.ok(lease !== null);
  // The lease is that of the good ACK where an OFFER was under test.
  if (state === "SELECTING") checkGood(lease, GOOD_LEASE_SEC);
  else checkLease(lease, expect);

  const gateways = routes.filter(({ dst }) => dst === "default").map(({ gateway }) => gateway);
  assert.deepEqual(gateways, lease.gateways.slice(0, 1), "the default route of its table");
  const inTable = new Map(routes.map(({ dst, gateway }) => [dst, gateway]));
  for (const [prefix, gateway] of expect.kernel ?? routesOf(lease)) {
    const destination = prefix.replace(/\/32$/, "");
    assert.ok(inTable.has(destination), `${destination} is in the kernel`);
    assert.equal(inTable.get(destination) ?? ON_LINK, gateway, destination);
  }
  const mtu = lease.mtu !== null && lease.mtu < LINK_MTU ? lease.mtu : null;
  for (const { dst, metrics } of routes) assert.equal(metrics?.[0]?.mtu ?? null, mtu, dst);
}

function checkLease(lease: LeaseReport, expect: Expectation): void {
  const [address, length] = lease.address.split("/");
  const found: Readonly<Record<keyof Omit<Expectation, "or_verdict" | "kernel">, unknown>> = {
    yiaddr: address,
    yiaddr_any_of: address,
    prefixlen: Number(length),
    prefixlen_any_of: Number(length),
    router: lease.gateways,
    router_max: lease.gateways.length,
    routes: routesOf(lease),
    lease: lease.lease_sec === INFINITE_SEC ? "infinite" : lease.lease_sec,
    t1: lease.t1_in_sec,
    t2: lease.t2_in_sec,
    hostname: lease.host_name,
    hostname_any_of: lease.host_name,
    domain: lease.domain,
    search: lease.search_domains,
    mtu: lease.mtu,
  };
  const wanted = new Map<string, unknown>(Object.entries(expect));
  for (const [key, value] of Object.entries(found)) {
    const want = wanted.get(key);
    if (want !== undefined) checkField(key, value, want);
  }
  if (lease.lease_sec === INFINITE_SEC) assert.equal(lease.t1_in_sec ?? lease.t2_in_sec, null);
}

function routesOf({ routes }: LeaseReport): readonly (readonly [string, string])[] {
  return routes.map((text) => {
    const [destination = "", how, gateway = ""] = text.split(" ");
    return [destination, how === "via" ? gateway : ON_LINK];
  });
}

function checkField(key: string, value: unknown, want: unknown): void {
  if (key.endsWith("_any_of")) assert.ok(Array.isArray(want) && want.includes(value), key);
  else if (key.endsWith("_max")) assert.ok(Number(value) <= Number(want), key);
  // Timers are told as the time that is left, some seconds after the lease began.
  else if (key === "t1" || key === "t2") {
    assert.ok(Number(value) <= Number(want) && Number(value) > Number(want) - 120, key);
  } else assert.deepEqual(value, want, key);
}
