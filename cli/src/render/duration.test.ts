import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatMs, formatSeconds, formatWallTime } from "./duration.js";

process.env["TZ"] = "UTC";

describe("formatSeconds", () => {
  const rows = [
    [0, "0 s"],
    [59, "59 s"],
    [60, "1 min"],
    [3599, "59 min"],
    [3600, "1 h"],
    [86_399, "23 h"],
    [86_400, "1 d"],
    [400 * 86_400, "400 d"],
    [-5, "0 s"],
    [1.9, "1 s"],
    [0xffff_fffe, "49710 d"],
    [0xffff_ffff, "forever"],
  ] as const;
  for (const [seconds, want] of rows) {
    test(`${seconds} s is ${want}`, () => assert.equal(formatSeconds(seconds), want));
  }

  test("milliseconds are cut, not rounded", () => assert.equal(formatMs(59_999n), "59 s"));
});

describe("formatWallTime", () => {
  const today = new Date(Date.UTC(2031, 0, 2, 12));
  const rows = [
    ["today's", BigInt(Date.UTC(2031, 0, 2, 17, 8, 2, 114)), "17:08:02.114"],
    ["yesterday's", BigInt(Date.UTC(2031, 0, 1, 7, 8, 2, 4)), "2031-01-01 07:08:02.004"],
    ["one that no calendar has", 2n ** 63n, "-"],
  ] as const;
  for (const [name, wallMs, want] of rows) {
    test(`${name} is ${want}`, () => assert.equal(formatWallTime(wallMs, today), want));
  }
});
