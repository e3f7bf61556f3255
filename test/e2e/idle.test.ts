import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Program } from "../lab/program.js";
import { Scenario } from "./scenario.js";

/** `make soak` has 60. Longer than twice the periods that libraries like. */
const WINDOW_SEC = Number(process.env["IDLE_SEC"] ?? 25);
/** V8 tidies up in rounds, the next 8 s after the last. */
const QUIET_SEC = 9;
const PATIENCE_SEC = 90;
/** The goal is 10 ms in 60 s. One audit, which may be in the window, takes about five. */
const MOST_CPU_MS = 10;

interface Activity {
  readonly wakes: number;
  readonly cpuMs: number;
}

/** How often the threads of a process went to sleep so far, and how long they ran. */
function activityOf({ pid }: Program): Activity {
  let wakes = 0;
  let cpuMs = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
    wakes += Number(/^voluntary_ctxt_switches:\s*(\d+)$/m.exec(status)?.[1]);
    const schedstat = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8");
    cpuMs += Number(schedstat.split(" ")[0]) / 1e6;
  }
  return { wakes, cpuMs };
}

/** Follows a process second by second. */
class Watcher {
  readonly #program: Program;
  readonly #first: Activity;
  #last: Activity;
  /** Seconds in which it woke, one bit of text each. */
  seconds = "";

  constructor(program: Program) {
    this.#program = program;
    this.#first = activityOf(program);
    this.#last = this.#first;
  }

  look(): void {
    const now = activityOf(this.#program);
    this.seconds += now.wakes === this.#last.wakes ? "." : "#";
    this.#last = now;
  }

  /** Runs of seconds in which it woke: one for each reason to wake. */
  get bursts(): number {
    return this.seconds.split(".").filter((run) => run !== "").length;
  }

  get cpuMs(): number {
    return this.#last.cpuMs - this.#first.cpuMs;
  }
}

test("idle programs sleep", async (t) => {
  await using scenario = await Scenario.start({ uplinks: 2 });
  scenario.log.close();
  scenario.client.close();
  assert.equal((await scenario.lab.mnmctl("status")).code, 0);
  const programs = [scenario.helper, scenario.controller];
  const settling = programs.map((program) => new Watcher(program));
  for (let second = 0; second < PATIENCE_SEC; second += 1) {
    await delay(1000);
    for (const watcher of settling) watcher.look();
    if (settling.every(({ seconds }) => seconds.endsWith(".".repeat(QUIET_SEC)))) break;
  }
  const [helper, controller] = programs.map((program) => new Watcher(program));
  assert.ok(helper !== undefined && controller !== undefined);
  for (let second = 0; second < WINDOW_SEC; second += 1) {
    await delay(1000);
    for (const watcher of [helper, controller]) watcher.look();
  }
  for (const [index, { seconds }] of settling.entries()) {
    t.diagnostic(`${programs[index]?.name} after the start: ${seconds}`);
  }
  t.diagnostic(`helper, by the second: ${helper.seconds}, ${helper.cpuMs.toFixed(2)} ms`);
  t.diagnostic(`controller: ${controller.seconds}, ${controller.cpuMs.toFixed(2)} ms`);
  assert.equal(helper.bursts, 0);
  assert.ok(helper.cpuMs <= 1, `${helper.cpuMs} ms`);
  // The audit, once a minute.
  assert.ok(controller.bursts <= Math.ceil(WINDOW_SEC / 60), controller.seconds);
  assert.ok(controller.cpuMs <= MOST_CPU_MS, `${controller.cpuMs} ms`);
});
