import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync } from "node:fs";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { EventKind } from "@mnm/proto/network-manager";
import { isOpen, REPOSITORY } from "../lab/identity.js";
import { type Lab, type Output, until } from "../lab/index.js";
import type { Program } from "../lab/program.js";
import { run } from "../lab/run.js";
import { FLOODS } from "./http2-bytes.js";
import { costOf } from "./process-cost.js";
import { clientOf, Scenario, statusOf } from "./scenario.js";
import { type Done, Stranger } from "./strangers.js";

const STRANGER_UID = 54_321;
const SEED = Number(process.env["SEED"] ?? 20_260_101);
const MOST_P99_MS = 100;
const ATTEMPTS = 3;
const MOST_GROWTH_KB = 30 * 1024;
const DESCRIPTORS_MS = 15_000;
/** In a minute, however many users there are. */
const MOST_LINES = 8;

const descriptorsOf = ({ pid }: Program) => readdirSync(`/proc/${pid}/fd`).length;

interface Latencies {
  readonly p99: number;
  readonly most: number;
  readonly count: number;
}

function latenciesOf(sample: readonly number[]): Latencies {
  const sorted = sample.toSorted((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return { p99: at(0.99) ?? 0, most: at(1) ?? 0, count: sorted.length };
}

const shown = ({ p99, most, count }: Latencies) =>
  `p99 ${p99.toFixed(1)} ms, most ${most.toFixed(1)} ms of ${count}`;

/** An operator who asks for the status again and again, by one connection and by new ones. */
class Operator {
  readonly #scenario: Scenario;
  readonly #kept: number[] = [];
  readonly #fresh: number[] = [];
  mostKb = 0;
  mostDescriptors = 0;

  constructor(dependencies: { readonly scenario: Scenario }) {
    this.#scenario = dependencies.scenario;
  }

  /** Until the deed is done; and once more, so that there always is an answer. */
  async during<T>(deed: Promise<T>): Promise<T> {
    let isDone = false;
    const finished = deed.finally(() => {
      isDone = true;
    });
    // The deed's failure is thrown below, when the operator has come to rest.
    finished.catch(() => undefined);
    const again = async (call: () => Promise<unknown>, into: number[], pauseMs: number) => {
      do {
        into.push(await timed(call));
        this.#look();
        await delay(pauseMs);
      } while (!isDone);
    };
    await Promise.all([
      again(() => statusOf(this.#scenario.client), this.#kept, 2),
      again(() => this.#callOnce(), this.#fresh, 20),
    ]);
    return await finished;
  }

  #look(): void {
    const { controller } = this.#scenario;
    this.mostKb = Math.max(this.mostKb, costOf(controller).residentKb);
    this.mostDescriptors = Math.max(this.mostDescriptors, descriptorsOf(controller));
  }

  get kept(): Latencies {
    return latenciesOf(this.#kept);
  }

  get fresh(): Latencies {
    return latenciesOf(this.#fresh);
  }

  /** As mnmctl does, which waits for its place in the queue. */
  async #callOnce(): Promise<void> {
    const client = clientOf(this.#scenario.lab);
    try {
      await new Promise<void>((resolve, reject) => {
        client.waitForReady(Date.now() + 10_000, (error) =>
          error === undefined ? resolve() : reject(error),
        );
      });
      await statusOf(client);
    } finally {
      client.close();
    }
  }
}

async function timed(call: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await call();
  return performance.now() - began;
}

interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly uid?: number;
}

/** What the controller has written since then, at level warning or above. */
function warningsSince(controller: Program, offset: number): readonly LogLine[] {
  const lines = controller.log().slice(offset).split("\n").filter(Boolean);
  // What is no JSON was not written by the log: a stack, an assertion.
  return lines
    .map((line) => (line.startsWith("{") ? JSON.parse(line) : { level: 99, msg: line }))
    .filter(({ level }: LogLine) => level >= 40);
}

/** Everything that has to be as it was, whatever strangers did. */
class Attacked {
  readonly #scenario: Scenario;
  readonly #t: TestContext;
  #control: Operator;
  #base = { kb: 0, descriptors: 0, log: 0, events: 0 };

  constructor(scenario: Scenario, t: TestContext) {
    this.#scenario = scenario;
    this.#t = t;
    this.#control = new Operator({ scenario });
  }

  /** What it costs without an attack, on this machine at this time. */
  async measureControl(): Promise<void> {
    // What is loaded and compiled once is no growth.
    await new Operator(this).during(delay(1000));
    this.#control = new Operator(this);
    await this.#control.during(delay(2000));
    const { controller, log } = this.#scenario;
    this.#base = {
      kb: costOf(controller).residentKb,
      descriptors: descriptorsOf(controller),
      log: controller.log().length,
      events: log.events.length,
    };
  }

  get scenario(): Scenario {
    return this.#scenario;
  }

  /** Does it, and shows that the operator hardly notices: once at least, for other work on this machine only adds. */
  async withstand(what: string, deed: () => Promise<Done>): Promise<void> {
    const seen: string[] = [];
    while (seen.length < ATTEMPTS) {
      const { kept } = await this.survive(what, deed);
      // What this machine needs for nothing is not ours, and grows with whatever else it does.
      if (kept.p99 <= MOST_P99_MS + 3 * this.#control.kept.p99) return;
      seen.push(shown(kept));
    }
    assert.fail(`${what}, ${ATTEMPTS} times: ${seen.join("; ")}`);
  }

  /** Does it, and shows what it cost. */
  async survive(what: string, deed: () => Promise<Done>): Promise<Operator> {
    const operator = new Operator(this);
    const { count, seconds, refused } = await operator.during(deed());
    const rate = `${count} in ${seconds.toFixed(1)} s (${Math.round(count / seconds)}/s), ${refused} refused`;
    const { kb } = this.#base;
    this.#t.diagnostic(`${what}: ${rate}`);
    this.#t.diagnostic(
      `  operator ${shown(operator.kept)}; new connections ${shown(operator.fresh)}; ` +
        `control ${shown(this.#control.kept)}; ${shown(this.#control.fresh)}`,
    );
    this.#t.diagnostic(
      `  most ${operator.mostDescriptors} descriptors, base ${this.#base.descriptors}; ` +
        `most ${((operator.mostKb - kb) / 1024).toFixed(1)} MB more than ${Math.round(kb / 1024)}`,
    );
    assert.ok(operator.mostKb - kb <= MOST_GROWTH_KB, `${operator.mostKb} kB, before ${kb}`);
    return operator;
  }

  /** Descriptors, log, links and events, when it is over. */
  async assertUnharmed(uids: readonly number[] | undefined): Promise<void> {
    const { controller, lab, log } = this.#scenario;
    const { descriptors, events } = this.#base;
    const what = `${descriptors} descriptors, as before`;
    await until(() => descriptorsOf(controller) <= descriptors, {
      timeoutMs: DESCRIPTORS_MS,
      what,
    });
    const warnings = warningsSince(controller, this.#base.log);
    for (const { msg } of warnings) assert.match(msg, /^a user asks too much of the API/);
    const named = warnings.map(({ uid }) => uid);
    if (uids !== undefined) assert.deepEqual(named, uids);
    assert.ok(new Set(named).size === named.length && named.length <= MOST_LINES, String(named));
    assert.ok(controller.running);
    const kinds = log.events.slice(events).map(({ kind }) => kind);
    assert.ok(!kinds.includes(EventKind.UPLINK_UNUSABLE));
    assert.equal((await lab.mnmctl("status")).code, 0);
  }
}

const FLOOD_WIDTH = 16;
const FLOOD_SEC = 1;

describe("strangers at the controller's socket", () => {
  test("10,000 connects a second and 4,000 malformed sessions hold nobody up", async (t) => {
    await using scenario = await Scenario.start({ uplinks: 2 });
    await using stranger = await Stranger.start(STRANGER_UID);
    const path = scenario.lab.launcher.controllerSocket;
    const attacked = new Attacked(scenario, t);
    await attacked.measureControl();
    t.diagnostic(`seed ${SEED}`);
    await attacked.withstand("connects and malformed sessions", async () => {
      const done = stranger.do({ kind: "assault", path, seconds: 5, sessions: 4_000, seed: SEED });
      // Meanwhile things go on: somebody changes a metric, and the subscriber hears of it.
      const events = scenario.log.events.length;
      assert.equal((await scenario.lab.mnmctl("set-metric", "wan1", "3000")).code, 0);
      await scenario.log.event(EventKind.METRIC_CHANGED, "wan1", events);
      const result = await done;
      assert.ok(result.count >= 10_000, `only ${result.count}`);
      return result;
    });
    await attacked.assertUnharmed([STRANGER_UID]);
  });

  test("neither do 5,000 users who connect as fast as they can", async (t) => {
    await using scenario = await Scenario.start({ uplinks: 1 });
    await using stranger = await Stranger.start(0);
    const path = scenario.lab.launcher.controllerSocket;
    const attacked = new Attacked(scenario, t);
    await attacked.measureControl();
    await attacked.withstand("connects of 5,000 users", () =>
      stranger.do({ kind: "connects", path, seconds: 3, uids: 5_000 }),
    );
    // As few lines as if they were fewer.
    await attacked.assertUnharmed(undefined);
  });

  test("1,000 malformed sessions of root, who is served without such limits", async (t) => {
    await using scenario = await Scenario.start({ uplinks: 1 });
    await using stranger = await Stranger.start(0);
    const path = scenario.lab.launcher.controllerSocket;
    const attacked = new Attacked(scenario, t);
    await attacked.measureControl();
    t.diagnostic(`seed ${SEED}`);
    await attacked.survive("malformed sessions of root", () =>
      stranger.do({ kind: "malformed", path, count: 1_000, seconds: 4, seed: SEED }),
    );
    await attacked.assertUnharmed([]);
  });

  test("frames as fast as they are read", async (t) => {
    await using scenario = await Scenario.start({ uplinks: 1 });
    const path = scenario.lab.launcher.controllerSocket;
    const attacked = new Attacked(scenario, t);
    await attacked.measureControl();
    await attacked.withstand("floods", async () => {
      const total = { count: 0, refused: 0, seconds: 0 };
      for (const [index, { name }] of FLOODS.entries()) {
        // Each by another user: what one may send is soon used up.
        await using stranger = await Stranger.start(STRANGER_UID + index);
        const deed = { path, name, width: FLOOD_WIDTH, seconds: FLOOD_SEC };
        const { count, refused, seconds } = await stranger.do({ kind: "flood", ...deed });
        t.diagnostic(`${name}: cut ${count} times in ${seconds.toFixed(1)} s`);
        assert.ok(count > 0, `${name} was never cut`);
        total.count += count;
        total.refused += refused;
        total.seconds += seconds;
      }
      return total;
    });
    await attacked.assertUnharmed(undefined);
  });

  test("connections without a call are closed, and a user who has too many is told so", async (t) => {
    await using scenario = await Scenario.start({ uplinks: 1 });
    await using stranger = await Stranger.start(STRANGER_UID);
    const { lab } = scenario;
    const path = lab.launcher.controllerSocket;
    const attacked = new Attacked(scenario, t);
    await attacked.measureControl();
    const mine = await mnmctlAs(lab, STRANGER_UID, ["status"]);
    assert.equal(mine.code, 0, mine.stderr);

    const kept = await stranger.do({ kind: "keep", path, width: 32 });
    assert.equal(kept.count, 32);
    const refused = await mnmctlAs(lab, STRANGER_UID, ["status"]);
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /^error: too many connections of user 54321: 32 may be open; end some programs .* or ask as root or as a member of group mnm-admin\n$/,
    );
    // Others do not notice, be they root or not.
    assert.equal((await mnmctlAs(lab, STRANGER_UID + 1, ["status"])).code, 0);
    assert.equal((await lab.mnmctl("status")).code, 0);

    const { seconds } = await stranger.do({ kind: "watch-kept" });
    t.diagnostic(`half-open connections were closed after ${seconds.toFixed(1)} s`);
    assert.equal((await mnmctlAs(lab, STRANGER_UID, ["status"])).code, 0);
    await attacked.assertUnharmed([STRANGER_UID]);
  });
});

/** `mnmctl` as another user, from a place where that user can read it. */
async function mnmctlAs(lab: Lab, uid: number, args: readonly string[]): Promise<Output> {
  const place = `${lab.directory}/mnmctl`;
  const own = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
  let node = process.execPath;
  mkdirSync(place, { recursive: true });
  if (!isOpen(node)) {
    node = `${place}/node`;
    cpSync(process.execPath, node);
  }
  for (const file of ["mnmctl.js", "mnmctl.bundle.js", "mnmctl.cache", "package.json"]) {
    cpSync(`${REPOSITORY}/dist/${file}`, `${place}/${file}`);
  }
  const socket = ["--socket", lab.launcher.controllerSocket];
  return await run("setpriv", [...own, node, `${place}/mnmctl.js`, ...args, ...socket]);
}
