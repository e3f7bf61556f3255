import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TokenBucket } from "./token-bucket.js";

describe("TokenBucket", () => {
  test("allows the burst at once, then the rate, and never more than the burst", () => {
    let now = 0;
    const bucket = new TokenBucket(() => now, { perSecond: 5, burst: 10 });
    const taken = () => Array.from({ length: 20 }, () => bucket.take()).filter(Boolean).length;
    assert.equal(taken(), 10);
    now = 199;
    assert.equal(taken(), 0);
    now = 1000;
    assert.equal(taken(), 5);
    now = 1_000_000;
    assert.equal(taken(), 10);
  });

  test("takes all of a count or none", () => {
    const bucket = new TokenBucket(() => 0, { perSecond: 1, burst: 10 });
    assert.deepEqual([bucket.take(11), bucket.take(10), bucket.take(1)], [false, true, false]);
  });
});
