import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { type Namespace, until } from "../lab/index.js";
import { randomFrom, seedOf } from "./churn.js";
import { epochMs } from "./crash-scene.js";
import { type KernelText, kernelText, ours } from "./kernel-text.js";
import { Scenario } from "./scenario.js";
import { describeTimes, percentile } from "./times.js";

/** With nine operations for each, more than the 256 of one batch. */
const STATIC_LINKS = 40;
const MOST_ROUNDS = 60;
/** As many kills as have to hit a batch that is half done. */
const WANTED_HITS = 20;
/** How long after the first change of a batch the helper is killed at the latest. */
const WITHIN_US = 8_000;
const PATIENCE_MS = 30_000;
/** The goal is 1 s; a machine that is busy with other tests is allowed four times as much. */
const CONVERGED_WITHIN_MS = 4_000;

const numbers = Array.from({ length: STATIC_LINKS }, (_, index) => index);
const FEW = "links:\n  wan0: {}\n  wan1: {}\n";
const MANY = `${FEW}${numbers
  .map(
    (index) =>
      `  d${index}: { method: static, address: 10.50.${index}.2/24, gateway: 10.50.${index}.1 }\n`,
  )
  .join("")}`;

describe("the helper is killed in the middle of a batch", () => {
  let scenario: Scenario;
  const settled = new Map<string, KernelText>();
  before(async () => {
    scenario = await Scenario.start({
      uplinks: 2,
      controller: { config: FEW },
      prepare: async (lab) => {
        const peer = (index: number) => `e${index} netns ${lab.inet.name}`;
        await lab.host.ipBatch(
          numbers.map((index) => `link add d${index} type veth peer name ${peer(index)}`),
        );
        await lab.inet.ipBatch(numbers.map((index) => `link set e${index} up`));
      },
    });
    settled.set(FEW, await kernelText(scenario.lab.host));
    configure(MANY);
    const all = (STATIC_LINKS + 2) * 8 + 1;
    await until(async () => (await ours(scenario.lab.host)).length === all, {
      timeoutMs: PATIENCE_MS,
      what: `${all} objects`,
    });
    settled.set(MANY, await kernelText(scenario.lab.host));
  });
  after(() => scenario[Symbol.asyncDispose]());

  function configure(config: string): void {
    scenario.lab.launcher.writeConfig(config);
    scenario.controller.signal("SIGHUP");
  }

  /** Starts the helper again, and gives how long it took until the kernel holds this. */
  async function convergedTo(wanted: KernelText | undefined): Promise<number> {
    const startedAt = epochMs();
    scenario.helper = await scenario.lab.startHelper();
    await until(
      async () => JSON.stringify(await kernelText(scenario.lab.host)) === JSON.stringify(wanted),
      { timeoutMs: PATIENCE_MS, what: "the kernel to hold the plan" },
    );
    return epochMs() - startedAt;
  }

  test("the batch is finished or undone once it is back", async (t) => {
    const seed = seedOf();
    t.diagnostic(`SEED=${seed}`);
    const random = randomFrom(seed);
    const { lab } = scenario;
    const counts = [FEW, MANY].map((config) => oursIn(settled.get(config)));
    const hits: number[] = [];
    const times: number[] = [];
    for (let round = 0; round < MOST_ROUNDS && hits.length < WANTED_HITS; round += 1) {
      const target = round % 2 === 0 ? FEW : MANY;
      const trigger = await RuleTrigger.listen(lab.host);
      const killed = trigger.next(() => {
        spin(random(WITHIN_US));
        scenario.helper.signal("SIGKILL");
      });
      configure(target);
      await killed;
      await scenario.helper.exited();
      const held = (await ours(lab.host)).length;
      if (!counts.includes(held)) hits.push(held);
      times.push(await convergedTo(settled.get(target)));
    }
    t.diagnostic(`${hits.length} of ${times.length} kills left a half: ${hits.join(", ")} objects`);
    t.diagnostic(`converged after a start, ms: ${describeTimes(times)}`);
    assert.equal(hits.length, WANTED_HITS, `of ${times.length} kills; SEED=${seed}`);
    assert.ok(percentile(times, 95) <= CONVERGED_WITHIN_MS, describeTimes(times));
  });

  test("what a stranger removed while it was away is there again soon after", async (t) => {
    const { host } = scenario.lab;
    configure(FEW);
    await until(
      async () => JSON.stringify(await kernelText(host)) === JSON.stringify(settled.get(FEW)),
      { timeoutMs: PATIENCE_MS, what: "two uplinks" },
    );
    const strikes = [
      ["rule", "del", "priority", "9500"],
      ["rule", "del", "priority", "9000", "oif", "wan1"],
      ["rule", "del", "priority", "10000", "from", "10.1.0.100"],
      ["rule", "del", "priority", "10500", "from", "10.1.0.100"],
      ["rule", "del", "priority", "21001"],
      ["route", "flush", "table", "7702"],
      ["route", "del", "default", "dev", "wan1"],
      ["addr", "del", "10.1.0.100/24", "dev", "wan1"],
    ];
    const times: number[] = [];
    for (const strike of strikes) {
      await scenario.helper.stop("SIGKILL");
      await host.ip(...strike);
      assert.notDeepEqual(await kernelText(host), settled.get(FEW), strike.join(" "));
      times.push(await convergedTo(settled.get(FEW)));
    }
    t.diagnostic(`restored after a start, ms: ${describeTimes(times)}`);
    assert.ok(percentile(times, 95) <= CONVERGED_WITHIN_MS, describeTimes(times));
  });
});

function oursIn(text: KernelText | undefined): number {
  const lines = [...(text?.rules ?? []), ...(text?.routes ?? [])].filter((line) =>
    line.includes("proto 77"),
  );
  const addresses = (text?.addresses ?? []).filter((line) => line.includes("noprefixroute"));
  return lines.length + addresses.length;
}

/** Calls back while the kernel is still busy with a batch. */
class RuleTrigger {
  #heard = "";
  #onData: () => void = () => undefined;
  readonly #monitor: ChildProcessByStdio<null, Readable, null>;

  private constructor(host: Namespace) {
    const [file, ...args] = host.argv("ip", "-4", "monitor", "rule");
    this.#monitor = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#monitor.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#heard += text;
      this.#onData();
    });
  }

  /** From now on no change of a rule is missed. */
  static async listen(host: Namespace): Promise<RuleTrigger> {
    const trigger = new RuleTrigger(host);
    const probe = ["priority", "30000", "table", "30000"];
    await until(
      async () => {
        await host.ip("rule", "add", ...probe);
        await host.ip("rule", "del", ...probe);
        return /Deleted 30000/.test(trigger.#heard);
      },
      { timeoutMs: PATIENCE_MS, what: "a word of ip monitor" },
    );
    return trigger;
  }

  /** At the next change of a rule of ours, once. */
  next(act: () => void): Promise<void> {
    this.#heard = "";
    return new Promise((resolve) => {
      this.#onData = () => {
        if (!/proto (77|mnm)/.test(this.#heard)) return;
        this.#onData = () => undefined;
        act();
        this.#monitor.kill();
        resolve();
      };
    });
  }
}

/** A timer is not precise enough to hit a batch of some milliseconds. */
function spin(durationUs: number): void {
  const end = performance.now() + durationUs / 1000;
  while (performance.now() < end) {
    // Busy on purpose.
  }
}
