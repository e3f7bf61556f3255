import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { GuardSimulation, STRANGER_MAC } from "../testing/guard-simulation.js";

const ASK_ALL = "who-has 192.0.2.1 tell 192.0.2.50";
const WATCH = "watch 192.0.2.50";
const WATCH_BOTH = "watch 192.0.2.50 192.0.2.1";

describe("confirm", () => {
  test("asks who has the gateway's address now, so that a check asks the one that has it", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "confirm" });
    guard.advanceTo(60.5);
    guard.answer(STRANGER_MAC);
    guard.advanceTo(70);
    assert.deepEqual(guard.takeLog(), [`60s ${WATCH_BOTH}`, `60s ${ASK_ALL}`, `60.5s ${WATCH}`]);
    guard.deliver({ kind: "check" });
    guard.answer(STRANGER_MAC);
    assert.deepEqual(guard.takeLog().slice(-3), [
      "70s who-has 192.0.2.1 tell 192.0.2.50 (to 99)",
      `70s ${WATCH}`,
      "70s same-network",
    ]);
  });

  test("of a gateway that does not answer then: its silence at a check says nothing", () => {
    const guard = new GuardSimulation();
    guard.settle();
    guard.deliver({ kind: "confirm" });
    guard.advanceTo(100);
    assert.deepEqual(guard.takeLog(), [
      `60s ${WATCH_BOTH}`,
      `60s ${ASK_ALL}`,
      `61s ${ASK_ALL}`,
      `64s ${ASK_ALL}`,
      `68s ${WATCH}`,
    ]);
    guard.deliver({ kind: "check" });
    assert.equal(guard.isGatewayAsked, false);
  });

  test("while probing or asking changes nothing: the gateway is asked anyway", () => {
    const guard = new GuardSimulation();
    guard.deliver({ kind: "confirm" });
    guard.claim();
    const { state } = guard;
    guard.deliver({ kind: "confirm" });
    assert.equal(guard.state, state);
    guard.advanceTo(10);
    guard.answer();
    guard.deliver({ kind: "check" });
    guard.advanceTo(15);
    const asking = guard.state;
    guard.deliver({ kind: "confirm" });
    assert.equal(guard.state, asking);
  });
});
