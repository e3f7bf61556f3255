import assert from "node:assert/strict";
import { test } from "node:test";
import type { Instant } from "@mnm/proto/net";
import { EventLoop } from "./event-loop.js";

test("EventLoop finishes the effects of one event before it takes in the next", async () => {
  const order: string[] = [];
  const machine = {
    step: (event: string) => {
      order.push(`step ${event}`);
      return event === "first" ? ["post-second", "other"] : [];
    },
    settle: () => {
      order.push("settle");
      return [];
    },
    deadline: () => undefined,
  };
  const loop: EventLoop<string, string> = new EventLoop(machine, {
    now: () => 0 as Instant,
    wake: "wake",
    perform: (effect) => {
      order.push(effect);
      if (effect === "post-second") loop.post("second");
    },
  });

  loop.post("first");
  loop.post("third");
  await new Promise(setImmediate);

  const want = ["step first", "post-second", "other", "step second", "step third", "settle"];
  assert.deepEqual(order, want, "settles once, after all of them");
});

test("EventLoop sleeps as long as Node's timers can while it waits for a far deadline", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setImmediate"] });
  let wakes = 0;
  const machine = {
    step: () => {
      wakes += 1;
      return [];
    },
    settle: () => [],
    deadline: () => (40 * 24 * 3600 * 1000) as Instant, // 40 days
  };
  const loop = new EventLoop<string, never>(machine, {
    now: () => 0 as Instant,
    wake: "wake",
    perform: () => {},
  });

  loop.post("start");
  t.mock.timers.tick(0);
  t.mock.timers.tick(2 ** 31 - 2);
  assert.equal(wakes, 1, "only the start: 40 days must not overflow to at once");
  t.mock.timers.tick(1);
  assert.equal(wakes, 2);
  loop.stop();
});

test("EventLoop arms its timer afresh after each event: after a suspend it is late", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setImmediate"] });
  const order: string[] = [];
  let now = 0;
  const machine = {
    step: (event: string) => {
      order.push(`${now} ${event}`);
      return [];
    },
    settle: () => [],
    deadline: () => (3_600_000 + 1000) as Instant,
  };
  const loop = new EventLoop<string, never>(machine, {
    now: () => now as Instant,
    wake: "wake",
    perform: () => {},
  });

  loop.post("start");
  t.mock.timers.tick(0);
  now = 3_600_000; // The clock went on, and the timers did not.
  t.mock.timers.tick(999);
  assert.deepEqual(order, ["0 start"]);
  loop.post("resumed");
  t.mock.timers.tick(0);
  t.mock.timers.tick(1000);
  assert.deepEqual(order, ["0 start", "3600000 resumed", "3600000 wake"]);
  loop.stop();
});

test("EventLoop takes in nothing after stop", () => {
  let steps = 0;
  const machine = {
    step: () => {
      steps += 1;
      return [];
    },
    settle: () => [],
    deadline: () => undefined,
  };
  const loop = new EventLoop<string, never>(machine, {
    now: () => 0 as Instant,
    wake: "wake",
    perform: () => {},
  });
  loop.stop();
  loop.post("late");
  assert.equal(steps, 0);
});

test("EventLoop tells for how long its machine has not acted on what is due", () => {
  const machine = {
    step: () => [],
    settle: () => [],
    deadline: (): Instant | undefined => undefined,
  };
  let now = 1_000;
  const loop = new EventLoop<string, never>(machine, {
    now: () => now as Instant,
    wake: "wake",
    perform: () => {},
  });
  assert.equal(loop.overdueMs(), 0, "nothing is due");
  machine.deadline = () => 3_000 as Instant;
  assert.equal(loop.overdueMs(), 0, "not yet due");
  now = 9_500;
  assert.equal(loop.overdueMs(), 6_500);
});
