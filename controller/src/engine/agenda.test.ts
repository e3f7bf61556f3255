import assert from "node:assert/strict";
import { test } from "node:test";
import type { Ifindex, Instant } from "@mnm/proto/net";
import fc from "fast-check";
import { Agenda } from "./agenda.js";

const anyLink = fc.integer({ min: 1, max: 6 });
const anyCall = fc.oneof(
  fc.record({
    kind: fc.constant("schedule" as const),
    link: anyLink,
    at: fc.option(fc.integer({ min: 0, max: 9 }), { nil: undefined }),
  }),
  fc.record({ kind: fc.constant("touch" as const), link: anyLink }),
  fc.record({ kind: fc.constant("take" as const), now: fc.integer({ min: 0, max: 9 }) }),
);

test("an agenda knows what a plain list of deadlines would know", () => {
  fc.assert(
    fc.property(fc.array(anyCall, { maxLength: 40 }), (calls) => {
      const agenda = new Agenda();
      const deadlines = new Map<number, number>();
      const touched = new Set<number>();
      for (const call of calls) {
        if (call.kind === "touch") {
          agenda.touch(call.link as Ifindex);
          touched.add(call.link);
        } else if (call.kind === "schedule") {
          agenda.schedule(call.link as Ifindex, call.at as Instant | undefined);
          if (call.at === undefined) deadlines.delete(call.link);
          else deadlines.set(call.link, call.at);
        } else {
          const due = [...deadlines].filter(([, at]) => at <= call.now).map(([link]) => link);
          assert.deepEqual([...agenda.due(call.now as Instant)].sort(), due.sort());
          const want = new Set([...touched, ...due]);
          assert.deepEqual(agenda.take(call.now as Instant), [...want].sort());
          touched.clear();
        }
        const first = Math.min(...deadlines.values());
        assert.equal(agenda.deadline(), Number.isFinite(first) ? first : undefined);
      }
    }),
    { numRuns: 500 },
  );
});
