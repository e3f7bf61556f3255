import assert from "node:assert/strict";
import { test } from "node:test";
import { instantFromMs } from "@mnm/proto/net";
import { Dumps } from "./dumps.js";
import { Outbox } from "./outbox.js";

/** A host on which every dump takes `dumpMs`, and what was asked for when. */
class Simulation {
  readonly dumps = new Dumps();
  readonly asked: string[] = [];
  now = 0;
  readonly #dumpMs: number;
  #arrivals: { readonly at: number; readonly number: number; readonly isWhole: boolean }[] = [];

  constructor(dumpMs: number) {
    this.#dumpMs = dumpMs;
  }

  /** Runs until then, a millisecond at a time; `disturb` says what happens in each. */
  run(
    untilMs: number,
    disturb: (now: number) => "interrupted" | undefined = () => undefined,
  ): void {
    for (; this.now < untilMs; this.now++) {
      const instant = instantFromMs(this.now);
      const isInterrupted = disturb(this.now) === "interrupted";
      for (const { at, number, isWhole } of this.#arrivals) {
        if (at !== this.now) continue;
        if (isWhole) this.dumps.arrived(number, instant);
        else this.dumps.failed(number, instant);
      }
      this.#arrivals = this.#arrivals.filter(({ at }) => at > this.now);
      const outbox = new Outbox(instant);
      this.dumps.ask(outbox);
      for (const effect of outbox.effects) {
        if (effect.kind !== "dump") continue;
        this.asked.push(`${this.now} ${effect.what}`);
        const arrival = { at: this.now + this.#dumpMs, number: effect.dump };
        this.#arrivals.push({ ...arrival, isWhole: !isInterrupted });
      }
    }
  }
}

test("an overrun that goes on is answered ever more rarely, and never later than 1 s", () => {
  const simulation = new Simulation(3);
  simulation.run(6_000, () => {
    simulation.dumps.want("everything");
    return undefined;
  });
  const everything = [0, 500, 1_500, 2_500, 3_500, 4_500, 5_500].map((at) => `${at} everything`);
  assert.deepEqual(simulation.asked, everything);
});

test("after a time without overrun the pause is short again", () => {
  const simulation = new Simulation(3);
  simulation.run(3_500, () => {
    simulation.dumps.want("everything");
    return undefined;
  });
  simulation.run(9_000);
  simulation.asked.length = 0;
  simulation.dumps.want("everything");
  simulation.run(9_100);
  simulation.dumps.want("everything");
  simulation.run(12_000);
  assert.deepEqual(simulation.asked, ["9000 everything", "9500 everything"]);
});

test("an interrupted dump is asked for again soon, and then ever later", () => {
  const simulation = new Simulation(2);
  simulation.run(1_900, () => "interrupted");
  const at = [0, 52, 154, 356, 758, 1260, 1762];
  assert.deepEqual(
    simulation.asked,
    at.map((now) => `${now} everything`),
  );
});

test("routes are asked for at once; after a dump that took long, only when it has rested", () => {
  const quick = new Simulation(5);
  quick.run(10);
  quick.dumps.want("routes");
  quick.run(20);
  assert.deepEqual(quick.asked, ["0 everything", "10 routes"]);

  const slow = new Simulation(100);
  slow.run(101);
  slow.dumps.want("routes");
  slow.run(700);
  assert.deepEqual(slow.asked, ["0 everything", "500 routes"]);
});

test("routes do not wait for everything, which has to wait", () => {
  const simulation = new Simulation(3);
  simulation.run(100);
  simulation.dumps.want("everything");
  simulation.dumps.want("routes");
  simulation.run(1_000);
  assert.deepEqual(simulation.asked, ["0 everything", "100 routes", "500 everything"]);
});

test("everything is asked for each minute, whatever is heard", () => {
  const simulation = new Simulation(5);
  simulation.run(120_010);
  assert.deepEqual(simulation.asked, ["0 everything", "60000 everything", "120000 everything"]);
});

test("what is heard while a dump is under way is given back with it", () => {
  const dumps = new Dumps();
  const outbox = new Outbox(instantFromMs(0));
  const gone = { kind: "link-gone", ifindex: 7 } as Parameters<Dumps["note"]>[0][number];
  dumps.note([gone]);
  dumps.ask(outbox);
  dumps.note([gone]);
  assert.equal(dumps.arrived(2, instantFromMs(1)), undefined, "a dump of before");
  assert.deepEqual(dumps.arrived(1, instantFromMs(1)), [gone]);
});
