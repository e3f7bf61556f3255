import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { formatIpv4, formatIpv4Prefix, instantFromMs } from "@mnm/proto/net";
import { CORPORA, withoutCorpora } from "../testing/dhcp4-corpora.js";
import { ADDRESS, CONFIG, replyOf, SERVER } from "../testing/dhcp4-server.js";
import { type DhcpState, type Lease, leaseOf, STOPPED, step } from "./index.js";

/** What verdicts.json says of a file, as far as this test reads it. */
interface Case {
  readonly file: string;
  readonly layer: "payload" | "frame";
  readonly state: "SELECTING" | "REQUESTING" | "BOUND";
  readonly verdict: "accept" | "drop" | "decline" | "restart" | "never";
  readonly why: string;
  readonly expect: Expectation;
}

interface Expectation {
  readonly or_verdict?: string;
  readonly yiaddr?: string;
  readonly yiaddr_any_of?: readonly string[];
  readonly prefixlen?: number;
  readonly prefixlen_any_of?: readonly number[];
  readonly router?: readonly string[];
  readonly router_max?: number;
  readonly routes?: readonly (readonly [string, string])[];
  readonly lease?: number | "infinite";
  readonly timers?: null;
  readonly t1?: number;
  readonly t2?: number;
  readonly hostname?: string | null;
  readonly hostname_any_of?: readonly (string | null)[];
  readonly domain?: string | null;
  readonly search?: readonly string[];
  readonly mtu?: number | null;
}

const XID = 0x3903f326;
const CONTEXT = { now: instantFromMs(1_000_000), randomUint32: () => XID, config: CONFIG };

/** The client as the corpus wants it: xid, chaddr, chosen server and address are its own. */
function clientIn(state: Case["state"]): DhcpState {
  const packet = (type: "offer" | "ack") =>
    ({ kind: "packet", payload: replyOf({ type, xid: XID }), source: SERVER }) as const;
  const selecting = step(STOPPED, { kind: "start", remembered: undefined }, CONTEXT).state;
  if (state === "SELECTING") return selecting;
  const requesting = step(selecting, packet("offer"), CONTEXT).state;
  return state === "REQUESTING" ? requesting : step(requesting, packet("ack"), CONTEXT).state;
}

/** The UDP payload: what the helper would hand over. */
function payloadOf({ file, layer }: Case): Uint8Array {
  const bytes = new Uint8Array(readFileSync(join(CORPORA, "adversarial", file)));
  if (layer === "payload") return bytes;
  // Ethernet, at most one VLAN tag, IPv4 with or without options, UDP.
  const ip = bytes[12] === 0x81 ? 18 : 14;
  return bytes.subarray(ip + ((bytes[ip] ?? 0) & 0x0f) * 4 + 8);
}

function readCases(): readonly Case[] {
  const text = readFileSync(join(CORPORA, "adversarial/verdicts.json"), "utf8");
  const { cases }: { cases: Record<string, Omit<Case, "file">> } = JSON.parse(text);
  return Object.entries(cases)
    .filter(([, value]) => "verdict" in value)
    .map(([file, value]) => ({ file, ...value }));
}

function outcomeOf(before: DhcpState, after: DhcpState, sent: readonly string[]): string {
  if (sent.includes("decline")) return "decline";
  if (after === before) return "drop";
  if (leaseOf(after) !== undefined || after.kind === "requesting") return "accept";
  return "restart";
}

function termsFound({ terms, timers, acquiredAt }: Lease) {
  const finite = timers.kind === "finite" ? timers : undefined;
  const sec = (instant: number | undefined) => ((instant ?? 0) - acquiredAt) / 1000;
  const routes = terms.routes.map(({ destination, gateway }) => [
    formatIpv4Prefix(destination),
    gateway === undefined ? "onlink" : formatIpv4(gateway),
  ]);
  return {
    yiaddr: formatIpv4(terms.address),
    yiaddr_any_of: formatIpv4(terms.address),
    prefixlen: terms.prefixLength,
    prefixlen_any_of: terms.prefixLength,
    router: terms.gateways.map(formatIpv4),
    router_max: terms.gateways.length,
    routes,
    lease: finite === undefined ? "infinite" : terms.leaseSec,
    timers: finite ?? null,
    t1: sec(finite?.t1),
    t2: sec(finite?.t2),
    hostname: terms.hostName ?? null,
    hostname_any_of: terms.hostName ?? null,
    domain: terms.domain ?? null,
    search: terms.searchDomains,
    mtu: terms.mtu ?? null,
  };
}

function checkLease(lease: Lease, expect: Expectation): void {
  const expected = new Map<string, unknown>(Object.entries(expect));
  for (const [key, value] of Object.entries(termsFound(lease))) {
    const want = expected.get(key);
    if (want === undefined) continue;
    if (key.endsWith("_any_of")) assert.ok(Array.isArray(want) && want.includes(value), key);
    else if (key === "router_max") assert.ok(Number(value) <= Number(want), key);
    else assert.deepEqual(value, want, key);
  }
}

function checkCase(oneCase: Case): void {
  const { verdict, expect } = oneCase;
  const before = clientIn(oneCase.state);
  const payload = payloadOf(oneCase);
  const startedAt = performance.now();
  const next = step(before, { kind: "packet", payload, source: SERVER }, CONTEXT);
  assert.ok(performance.now() - startedAt < 50, "within 50 ms");

  const sent = next.effects.map((effect) => (effect.kind === "send" ? effect.message : ""));
  const outcome = outcomeOf(before, next.state, sent);
  assert.ok([verdict, expect.or_verdict].includes(outcome), `${outcome}, not ${verdict}`);
  const saysWhy = next.effects.some(({ kind }) => kind === "reply-ignored");
  assert.equal(saysWhy, outcome === "drop" || outcome === "decline");
  const lease = leaseOf(next.state);
  if (outcome === "accept" && lease !== undefined) checkLease(lease, expect);
  if (next.state.kind === "requesting") assert.equal(next.state.offer.address, ADDRESS);
  if (outcome !== "accept" && outcome !== "drop") assert.equal(lease, undefined, "no address");
}

describe("adversarial replies get the verdict that they deserve", { skip: withoutCorpora }, () => {
  const cases = withoutCorpora === false ? readCases() : [];

  test("all 87 are here", () => assert.equal(cases.length, 87));

  // The others must not reach the machine: test/e2e/helper-packets.test.ts plays them to the port.
  const forMachine = cases.filter(({ verdict }) => verdict !== "never");
  test("79 of them are for the machine", () => assert.equal(forMachine.length, 79));

  for (const oneCase of forMachine) {
    const { file, verdict, why } = oneCase;
    test(`${file}: ${verdict}, ${why}`, () => checkCase(oneCase));
  }
});
