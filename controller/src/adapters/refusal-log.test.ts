import assert from "node:assert/strict";
import { test } from "node:test";
import { RefusalLog } from "./refusal-log.js";

test("one line for each user and minute, and few however many users there are", () => {
  const lines: object[] = [];
  const clock = { ms: 0 };
  const log = new RefusalLog({
    nowMs: () => clock.ms,
    log: { warn: (fields) => void lines.push(fields) },
  });
  for (let n = 0; n < 1_000; n += 1) log.note(1_000, n === 0 ? "connects" : "bytes");
  assert.deepEqual(lines, [{ uid: 1_000, tooMuchOf: "connects" }]);
  log.note(1_001, "calls");
  assert.equal(lines.length, 2);
  for (let uid = 0; uid < 10_000; uid += 1) log.note(100_000 + uid, "connects");
  assert.equal(lines.length, 8);
  clock.ms += 60_000;
  log.note(1_000, "connects");
  assert.deepEqual(lines.slice(8), [{ uid: 1_000, tooMuchOf: "connects" }]);
});
