import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { instantFromMs } from "@mnm/proto/net";
import { type CorpusFile, corpusFiles, withoutCorpora } from "../testing/dhcp4-corpora.js";
import { ADDRESS, CONFIG, replyOf, SERVER, u32 } from "../testing/dhcp4-server.js";
import { type DhcpState, deadline, leaseOf, STOPPED, step } from "./index.js";

const XID = 0x3903f326;
const NOW = instantFromMs(1_000_000);
const CONTEXT = { now: NOW, randomUint32: () => XID, config: CONFIG };

/** One client of each kind that waits for an answer, and one that does not. */
const CLIENTS: readonly DhcpState[] = clients();

function clients(): readonly DhcpState[] {
  const packet = (type: "offer" | "ack") =>
    ({ kind: "packet", payload: replyOf({ type, xid: XID }), source: SERVER }) as const;
  const selecting = step(STOPPED, { kind: "start", remembered: undefined }, CONTEXT).state;
  const requesting = step(selecting, packet("offer"), CONTEXT).state;
  const bound = step(requesting, packet("ack"), CONTEXT).state;
  const at = (sec: number) => ({ ...CONTEXT, now: instantFromMs(NOW + sec * 1000) });
  const rebooting = step(bound, { kind: "check" }, at(10)).state;
  const renewing = step(bound, { kind: "wake" }, at(1800)).state;
  const rebinding = step(bound, { kind: "wake" }, at(3150)).state;
  return [selecting, requesting, bound, rebooting, renewing, rebinding];
}

/** The bytes with the xid and chaddr of the clients, so that they get past the first checks. */
function aimed(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 44) return bytes;
  const copy = bytes.slice();
  copy.set([2, 1, 6, 0], 0);
  copy.set(u32(XID), 4);
  copy.set([2, 0, 0, 0, 0, 1], 28);
  return copy;
}

/** Feeds the bytes to every client; answers how long the slowest took and who believed them. */
function feed(payload: Uint8Array): { readonly slowestMs: number; readonly accepted: number } {
  let slowestMs = 0;
  let accepted = 0;
  for (const state of CLIENTS) {
    const startedAt = performance.now();
    const next = step(state, { kind: "packet", payload, source: SERVER }, CONTEXT);
    slowestMs = Math.max(slowestMs, performance.now() - startedAt);
    const held = leaseOf(next.state);
    if (held !== undefined && held !== leaseOf(state)) {
      accepted += 1;
      assert.ok(held.terms.leaseSec >= 10 && held.terms.prefixLength >= 8);
    }
    assert.ok(Number.isFinite(deadline(next.state) ?? 0), "a deadline is a number");
    assert.ok(next.state !== state || next.effects.length > 0, "something is said of it");
  }
  return { slowestMs, accepted };
}

/** mulberry32: small, seeded, good enough to spread mutations. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Bytes set, flipped, cut out, doubled or inserted, mostly where the options are. */
function mutated(bytes: Uint8Array, random: (below: number) => number): Uint8Array {
  let copy: Uint8Array = bytes.slice();
  for (let times = 1 + random(6); times > 0; times -= 1) {
    const from = random(4) > 0 ? Math.min(240, copy.length) : 0;
    const at = from + random(Math.max(1, copy.length - from));
    const end = Math.min(copy.length, at + 1 + random(16));
    switch (random(5)) {
      case 0:
        copy[at] = random(256);
        break;
      case 1:
        copy[at] = (copy[at] ?? 0) ^ (1 << random(8));
        break;
      case 2:
        copy = joined(copy.subarray(0, at), copy.subarray(end));
        break;
      case 3:
        copy = joined(copy.subarray(0, end), copy.subarray(at));
        break;
      default:
        copy = joined(
          copy.subarray(0, at),
          Uint8Array.of(random(256), random(24)),
          copy.subarray(at),
        );
    }
  }
  return copy.subarray(0, 1500);
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Replies with everything in them: what mutations start from when there are no corpora. */
const OWN: readonly CorpusFile[] = [
  {
    name: "own: everything",
    bytes: replyOf({
      type: "ack",
      xid: XID,
      address: ADDRESS,
      options: {
        6: Uint8Array.of(192, 0, 2, 3, 192, 0, 2, 4),
        12: Uint8Array.from(Buffer.from("host")),
        15: Uint8Array.from(Buffer.from("example.net")),
        33: Uint8Array.of(198, 51, 100, 0, 192, 0, 2, 1),
        52: Uint8Array.of(3),
        114: Uint8Array.from(Buffer.from("https://portal.example/")),
        119: Uint8Array.from(Buffer.from("\x03foo\x07example\x00\x03bar\xc0\x04", "latin1")),
        121: Uint8Array.of(0, 192, 0, 2, 1, 24, 203, 0, 113, 192, 0, 2, 9),
      },
      file: Uint8Array.of(12, 1, 65, 255),
    }),
  },
];

describe("bytes from anywhere", () => {
  test("no file of the corpora, as it is, brings a lease", { skip: withoutCorpora }, () => {
    const files = corpusFiles().filter(({ name }) => !name.startsWith("adversarial"));
    assert.ok(files.length > 400, `${files.length} files`);
    for (const { name, bytes } of files) {
      const { slowestMs, accepted } = feed(bytes);
      assert.ok(slowestMs < 50, `${name} took ${slowestMs} ms`);
      assert.equal(accepted, 0, name);
    }
  });

  test("no file of the corpora, aimed at us, throws or hangs", { skip: withoutCorpora }, () => {
    for (const { name, bytes } of corpusFiles()) {
      const { slowestMs } = feed(aimed(bytes));
      assert.ok(slowestMs < 50, `${name} took ${slowestMs} ms`);
    }
  });

  test("twenty thousand mutations neither throw nor hang", () => {
    const seeds = withoutCorpora === false ? [...OWN, ...corpusFiles()] : OWN;
    const payloads = seeds.filter(({ bytes }) => bytes.length >= 240).map(({ bytes }) => bytes);
    const random = randomFrom(20260103);
    let accepted = 0;
    for (let turn = 0; turn < 20_000; turn += 1) {
      // Half of them from our own, which is a lease before it is mutated.
      const seed = turn % 2 === 0 ? OWN[0]?.bytes : payloads[random(payloads.length)];
      const payload = aimed(mutated(seed ?? new Uint8Array(0), random));
      const result = feed(payload);
      accepted += result.accepted;
      assert.ok(result.slowestMs < 50, Buffer.from(payload).toString("hex"));
    }
    assert.ok(accepted > 1000, `only ${accepted} got as far as a lease`);
  });
});
