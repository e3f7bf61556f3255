import assert from "node:assert/strict";
import { test } from "node:test";
import { after, type Instant, instantFromMs } from "@mnm/proto/net";
import { ipv4 } from "../testing/dhcp4-server.js";
import {
  NO_SETBACKS,
  retransmitMs,
  type Setbacks,
  type Wait,
  withDecline,
  withNak,
} from "./backoff.js";

const LOW = () => 0;
const HIGH = () => 0xffff_ffff;

test("retransmitMs() gives 4, 8, 16, 32, 64, 64 seconds, give or take one", () => {
  for (const [sent, sec] of [4, 8, 16, 32, 64, 64, 64].entries()) {
    assert.equal(retransmitMs(sent + 1, LOW), sec * 1000 - 1000);
    assert.equal(retransmitMs(sent + 1, HIGH), sec * 1000 + 1000);
  }
});

const NAK = { kind: "nak", server: ipv4("192.0.2.1"), address: ipv4("192.0.2.50") } as const;
const UNUSABLE = { ...NAK, kind: "unusable" } as const;
const nak = (setbacks: Setbacks, now: Instant) =>
  withNak(setbacks, NAK, { now, randomUint32: LOW });
const decline = (setbacks: Setbacks, now: Instant) =>
  withDecline(setbacks, UNUSABLE, { now, randomUint32: LOW });

/** Delays in seconds when each setback comes `pauseMs` after the wait for the one before. */
function delays(
  next: (setbacks: Setbacks, now: Instant) => Wait,
  pauseMs: number,
  count: number,
): readonly number[] {
  let setbacks: Setbacks = NO_SETBACKS;
  let now: Instant = instantFromMs(0);
  return Array.from({ length: count }, () => {
    const result = next(setbacks, now);
    setbacks = result.setbacks;
    now = after(now, result.delayMs + pauseMs);
    return result.delayMs / 1000;
  });
}

test("NAKs in a row wait 0, 4, 8, … seconds, at most 30 minutes", () => {
  const want = [0, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1800, 1800];
  assert.deepEqual(delays(nak, 100, 12), want);
});

test("declines in a row wait 10, 20, 40, … seconds, at most 10 minutes", () => {
  assert.deepEqual(delays(decline, 100, 9), [10, 20, 40, 80, 160, 320, 600, 600, 600]);
});

test("a row is over when a setback is long in coming", () => {
  assert.deepEqual(delays(nak, 60_001, 3), [0, 0, 0]);
  assert.deepEqual(delays(decline, 70_001, 3), [10, 10, 10]);
  assert.deepEqual(delays(decline, 69_000, 3), [10, 20, 40]);
});

test("the longest wait still has its jitter, and no count grows without end", () => {
  const long = { length: 5000, lastAt: instantFromMs(0), delayMs: 1_800_000 };
  const { delayMs } = withNak({ ...NO_SETBACKS, naks: long }, NAK, {
    now: instantFromMs(1_900_000),
    randomUint32: HIGH,
  });
  assert.equal(delayMs, 1_980_000);
});
