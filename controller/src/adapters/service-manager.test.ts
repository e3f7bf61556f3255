import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ServiceManager } from "./service-manager.js";
import { describeHost } from "./service-status.js";

const WATCHED = { NOTIFY_SOCKET: "/run/notify", WATCHDOG_USEC: "30000000", WATCHDOG_PID: "7" };

/** A service whose health and line for people a test sets. */
function scene(environment: Readonly<Record<string, string>> = WATCHED) {
  const state = { line: "fine", ailment: undefined as string | undefined };
  const said: string[] = [];
  const faults: string[] = [];
  const manager = new ServiceManager(
    {
      tell: (message) => said.push(message.replaceAll("\n", " ")),
      describe: () => state.line,
      exercise: () => said.push("(exercise)"),
      ailment: () => state.ailment,
      onAilment: (ailment) => faults.push(ailment),
    },
    { environment, pid: 7 },
  );
  return { state, said, faults, manager };
}

test("the watchdog is fed at half of its time, after a self-check", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const { said, manager } = scene();
  t.mock.timers.tick(60_000);
  assert.deepEqual(said, [], "nothing before the service is ready");
  manager.ready();
  assert.deepEqual(said.splice(0), ["READY=1 STATUS=fine"]);
  t.mock.timers.tick(14_999);
  assert.deepEqual(said, []);
  t.mock.timers.tick(1);
  assert.deepEqual(said, ["(exercise)"], "what was set to work has its turn first");
  await nextTurn();
  assert.deepEqual(said, ["(exercise)", "WATCHDOG=1"]);
  manager.stopping();
});

test("a service that is not well is silent, says so once, and may recover", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const { state, said, faults, manager } = scene();
  manager.ready();
  said.length = 0;
  const feeding = async () => {
    t.mock.timers.tick(15_000);
    await nextTurn();
    return said.splice(0);
  };
  state.ailment = "The engine is 6000 ms behind";
  assert.deepEqual(await feeding(), ["(exercise)"]);
  assert.deepEqual(await feeding(), ["(exercise)"]);
  assert.deepEqual(faults, ["The engine is 6000 ms behind"]);
  state.ailment = undefined;
  assert.deepEqual(await feeding(), ["(exercise)", "WATCHDOG=1"]);
  state.ailment = "Nobody can reach us";
  assert.deepEqual(await feeding(), ["(exercise)"]);
  assert.equal(faults.length, 2);
  manager.stopping();
});

test("a burst of events changes the line for people once, and only when it differs", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const { state, said, manager } = scene();
  manager.changed();
  t.mock.timers.tick(5_000);
  assert.deepEqual(said, [], "not before the service is ready");
  manager.ready();
  said.length = 0;
  state.line = "better";
  for (let event = 0; event < 100; event++) manager.changed();
  t.mock.timers.tick(1_000);
  assert.deepEqual(said.splice(0), ["STATUS=better"]);
  manager.changed();
  t.mock.timers.tick(1_000);
  assert.deepEqual(said, []);
  state.line = "as good";
  t.mock.timers.tick(15_000);
  await nextTurn();
  assert.deepEqual(said.splice(0), ["(exercise)", "WATCHDOG=1 STATUS=as good"]);
  manager.changed();
  manager.stopping();
  t.mock.timers.tick(60_000);
  await nextTurn();
  assert.deepEqual(said, ["STOPPING=1 STATUS=Stopping"], "the last word");
});

test("only who is asked feeds the watchdog", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const { WATCHDOG_PID: _, ...anybody } = WATCHED;
  const cases = [
    { name: "a parent's watchdog", environment: { ...WATCHED, WATCHDOG_PID: "8" }, feeds: false },
    { name: "no pid named", environment: anybody, feeds: true },
    { name: "no watchdog", environment: { NOTIFY_SOCKET: "/run/notify" }, feeds: false },
    { name: "watchdog off", environment: { ...WATCHED, WATCHDOG_USEC: "0" }, feeds: false },
    { name: "no number", environment: { ...WATCHED, WATCHDOG_USEC: "soon" }, feeds: false },
  ];
  for (const { name, environment, feeds } of cases) {
    const { said, manager } = scene(environment);
    manager.ready();
    t.mock.timers.tick(15_000);
    await nextTurn();
    assert.equal(said.includes("WATCHDOG=1"), feeds, name);
    assert.equal(said[0], "READY=1 STATUS=fine", name);
    manager.stopping();
  }
});

test("without a service manager nothing is said and nobody is woken", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  for (const environment of [{}, { NOTIFY_SOCKET: "" }, { WATCHDOG_USEC: "1000000" }]) {
    const { said, manager } = scene(environment);
    manager.ready();
    manager.changed();
    t.mock.timers.tick(120_000);
    manager.stopping();
    assert.deepEqual(said, []);
  }
});

test("the host in one line", () => {
  const helper = { kind: "ready", info: { version: "1", capabilities: [] } } as const;
  const link = (state: string) => ({ state, managed: state === "ignored" ? undefined : {} });
  const base = { links: [], warnings: [], helper, defaultLink: undefined, isSettled: true };
  const lineOf = (host: object) => describeHost({ ...base, ...host } as never);
  assert.equal(lineOf({ isSettled: false, links: [link("usable")] }), "Looking for uplinks");
  assert.equal(lineOf({}), "No link to manage, no default");
  assert.equal(
    lineOf({ links: [link("usable"), link("no-carrier"), link("ignored")] }),
    "1 of 2 uplinks usable, no default",
  );
  const unreachable = { kind: "unreachable", text: "no socket" };
  assert.equal(
    lineOf({ links: [link("usable")], defaultLink: "wan0", helper: unreachable, warnings: [1] }),
    "1 of 1 uplinks usable, default wan0, helper not reachable, 1 warning",
  );
});
