import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LinkLimit } from "./link-limit.js";
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

describe("LinkLimit", () => {
  const limit = () => new LinkLimit(() => 0, { perSecond: 1, burst: 1 });
  const links = Array.from({ length: 1024 }, (_, ifindex) => ifindex);

  test("with as many links as it remembers, none of them begins anew", () => {
    const full = limit();
    for (const ifindex of links) assert.equal(full.take(ifindex), true);
    for (const ifindex of links.toReversed()) assert.equal(full.take(ifindex), false);
  });

  test("one more takes the place of the one that came first, and of no other", () => {
    const full = limit();
    for (const ifindex of links) full.take(ifindex);
    assert.equal(full.take(5000), true);
    for (const ifindex of links.slice(1).toReversed()) assert.equal(full.take(ifindex), false);
    assert.equal(full.take(0), true);
  });
});
