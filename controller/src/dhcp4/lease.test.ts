import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { instantFromMs } from "@mnm/proto/net";
import fc from "fast-check";
import { INFINITE_SEC, leaseTimers } from "./lease.js";

const START = instantFromMs(5000);

describe("leaseTimers()", () => {
  // Seconds from the request: T1, T2, expiry.
  const cases = [
    { name: "uses the defaults", given: [3600], want: [1800, 3150, 3600] },
    { name: "uses the server's", given: [3600, 60, 120], want: [60, 120, 3600] },
    { name: "completes a lone T1", given: [3600, 60], want: [60, 3150, 3600] },
    { name: "ignores T1 after T2", given: [3600, 200, 100], want: [1800, 3150, 3600] },
    { name: "ignores T1 at T2", given: [3600, 100, 100], want: [1800, 3150, 3600] },
    { name: "ignores T2 at expiry", given: [3600, 60, 3600], want: [1800, 3150, 3600] },
    { name: "ignores zero", given: [3600, 0, 0], want: [1800, 3150, 3600] },
    { name: "ignores all ones", given: [3600, INFINITE_SEC], want: [1800, 3150, 3600] },
    { name: "does not renew within ten seconds", given: [3600, 1, 2], want: [10, 1805, 3600] },
    { name: "moves T1 of a short lease", given: [12], want: [10, 10.5, 12] },
    { name: "cannot renew ten seconds", given: [10], want: [10, 10, 10] },
  ];
  for (const { name, given, want } of cases) {
    test(name, () => {
      const [leaseSec = 0, t1Sec, t2Sec] = given;
      const timers = leaseTimers(START, { leaseSec, t1Sec, t2Sec });
      assert.ok(timers.kind === "finite");
      const found = [timers.t1, timers.t2, timers.expiry].map((at) => (at - START) / 1000);
      assert.deepEqual(found, want);
    });
  }

  test("treats all ones as infinite", () => {
    const given = { leaseSec: INFINITE_SEC, t1Sec: 1, t2Sec: 2 };
    assert.deepEqual(leaseTimers(START, given), { kind: "infinite" });
  });

  test("always orders T1 < T2 < expiry, ten seconds or more after the request", () => {
    const seconds = fc.oneof(
      fc.integer({ min: 11, max: 40 }),
      fc.integer({ min: 11, max: 2 ** 32 - 2 }),
    );
    const timer = fc.option(fc.oneof(fc.nat({ max: 60 }), fc.nat({ max: 2 ** 31 })), {
      nil: undefined,
    });
    fc.assert(
      fc.property(seconds, timer, timer, (leaseSec, t1Sec, t2Sec) => {
        const timers = leaseTimers(START, { leaseSec, t1Sec, t2Sec });
        assert.ok(timers.kind === "finite" && timers.t1 < timers.t2 && timers.t2 < timers.expiry);
        assert.ok(timers.t1 - START >= 10_000);
      }),
    );
  });
});
