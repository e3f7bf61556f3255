// `make soak`: both programs through a long time of real churn; fails when anything of theirs grows.
// DURATION= seconds, SEED= repeats a run.
import { setTimeout as delay } from "node:timers/promises";
import { randomFrom, seedOf } from "../e2e/churn.js";
import { CrashScene, epochMs } from "../e2e/crash-scene.js";
import type { StartOptions } from "../lab/index.js";
import { type Holding, holdingOf, kernelObjects, type Rise, riseOf } from "./samples.js";
import { Visitors } from "./visitors.js";

const DURATION_SEC = Number(process.env["DURATION"] ?? 1200);
const SAMPLES = Math.max(20, Math.min(120, Math.floor(DURATION_SEC / 10)));
const UPLINKS = 6;
/** Connections that were broken are closed after some seconds. */
const REST_MS = 20_000;
/** A collection takes 20 ms, on a busy machine some times as much. */
const COLLECTED_MS = 300;
/** The controller's journal keeps as many events, each of less than that. */
const JOURNAL_CAPACITY = 10_000;
const EVENT_KB = 1;

interface Sample {
  readonly controller: Holding;
  readonly helper: Holding;
  readonly objects: number;
  readonly sockets: number;
  readonly events: number;
}

/** By how much a figure may rise in the second half of the run, and why as much as that. */
const LIMITS = {
  // After a collection the heap is the same to some 100 KB; V8's pages and the allocator's are not.
  memoryKb: 2048,
  // Connections that were broken less than 5 s ago are still there; at rest not one may be left.
  descriptors: 8,
  // Every one that is lost is lost for ever.
  count: 0.9,
} as const;

const seed = seedOf();
const random = randomFrom(seed);
console.log(`soak: ${DURATION_SEC} s of churn with ${UPLINKS} uplinks, SEED=${seed}`);
await using scene = await CrashScene.start(random, {
  uplinks: UPLINKS,
  start: { helper: collectable(), controller: collectable() },
});
const visitors = new Visitors(scene.lab, random);
const samples: Sample[] = [];
const atRest = await sample();
const pauseMs = (DURATION_SEC * 1000) / SAMPLES;
const startedAt = performance.now();

for (let number = 1; number <= SAMPLES; number += 1) {
  await churnUntil(startedAt + number * pauseMs);
  visitors.leave();
  await scene.churn.restore();
  await scene.converged(epochMs());
  samples.push(await sample());
  if (number === 1 || number % Math.ceil(SAMPLES / 20) === 0) printSample(number * pauseMs);
}
const kept = await unrest();
const { count, deleted } = await scene.end();
console.log(`${JSON.stringify(visitors.counts)}; ${count.sent} pings, ${count.lost} lost`);
const complaints = [...kept, ...growths(samples.slice(Math.floor(samples.length / 2)))];
if (count.lost > 0) complaints.push(`${count.lost} pings of the steady uplink were lost`);
if (deleted.length > 0) complaints.push(`deleted of the steady uplink: ${deleted.join("; ")}`);
for (const complaint of complaints) console.error(`FAILED: ${complaint}`);
if (complaints.length > 0) process.exitCode = 1;
else console.log("ok: nothing grows");

/** SIGUSR2 makes it collect its garbage. */
function collectable(): StartOptions {
  const script = 'process.on("SIGUSR2", () => gc())';
  const collect = `data:text/javascript,${encodeURIComponent(script)}`;
  return { nodeArgs: ["--expose-gc", "--import", collect] };
}

async function churnUntil(end: number): Promise<void> {
  while (performance.now() < end) {
    await scene.act();
    await visitors.visit();
    // A stranger, seldom enough not to be a fight.
    if (random(60) === 0) await scene.strike();
    await delay(random(100));
  }
}

async function sample(): Promise<Sample> {
  const { controller, helper } = scene.pids;
  // Garbage is no growth. Twice, for what the first collection only finds to be finalized.
  for (let times = 0; times < 2; times += 1) {
    for (const pid of [controller, helper]) process.kill(pid, "SIGUSR2");
    await delay(COLLECTED_MS);
  }
  return {
    controller: holdingOf(controller),
    helper: holdingOf(helper),
    events: await scene.events(),
    ...(await kernelObjects(scene.lab)),
  };
}

/** What is still held long after everybody has left, and was not at the beginning. */
async function unrest(): Promise<readonly string[]> {
  let more: readonly string[] = [];
  const end = performance.now() + REST_MS;
  do {
    await delay(1000);
    const now = await sample();
    const counts = (of: Sample) => ({
      "descriptors of the controller": of.controller.descriptors,
      "descriptors of the helper": of.helper.descriptors,
      "threads of the controller": of.controller.threads,
      "threads of the helper": of.helper.threads,
      "objects in the kernel": of.objects,
      "sockets in the kernel": of.sockets,
    });
    const before = new Map(Object.entries(counts(atRest)));
    more = Object.entries(counts(now))
      .filter(([name, value]) => value > (before.get(name) ?? 0))
      .map(([name, value]) => `${value} ${name} at the end, ${before.get(name)} at the beginning`);
  } while (more.length > 0 && performance.now() < end);
  return more;
}

function printSample(atMs: number): void {
  const last = samples.at(-1);
  if (last === undefined) return;
  if (samples.length === 1) {
    console.log("            controller                     helper                         kernel");
    console.log(
      "     s   rss   pss  priv MB  fds thr    rss   pss  priv MB  fds thr  objects sockets  events",
    );
  }
  const of = ({ rssKb, pssKb, privateKb, descriptors, threads }: Holding) =>
    [rssKb, pssKb, privateKb].map((kb) => (kb / 1024).toFixed(1).padStart(6)).join("") +
    `${String(descriptors).padStart(8)}${String(threads).padStart(4)}`;
  const { controller, helper, objects, sockets, events } = last;
  const counts = [objects, sockets, events].map((value) => String(value).padStart(8)).join("");
  console.log(`${(atMs / 1000).toFixed(0).padStart(6)}${of(controller)} ${of(helper)} ${counts}`);
}

/** What rises by more than it may, in sentences; prints all. */
function* growths(half: readonly Sample[]): Generator<string> {
  const inJournal = (at: number) => Math.min(half.at(at)?.events ?? 0, JOURNAL_CAPACITY);
  // Until it is full, the journal grows as it should.
  const journalKb = (inJournal(-1) - inJournal(0)) * EVENT_KB;
  for (const program of ["controller", "helper"] as const) {
    const memoryKb = LIMITS.memoryKb + (program === "controller" ? journalKb : 0);
    const figures = [
      // Not the proportional share: it follows what other processes of Node come and go.
      ["rssKb", memoryKb],
      ["privateKb", memoryKb],
      ["descriptors", LIMITS.descriptors],
      ["threads", LIMITS.count],
    ] as const;
    for (const [figure, limit] of figures) {
      const rise = riseOf(half.map((sample) => sample[program][figure]));
      yield* complaintOf(`${program} ${figure}`, rise, limit);
    }
  }
  for (const figure of ["objects", "sockets"] as const) {
    yield* complaintOf(
      `kernel ${figure}`,
      riseOf(half.map((sample) => sample[figure])),
      LIMITS.count,
    );
  }
}

function* complaintOf(name: string, { rise, margin }: Rise, limit: number): Generator<string> {
  const text = `${name}: ${rise.toFixed(1)} ± ${margin.toFixed(1)} in the second half, at most ${limit}`;
  console.log(text);
  // What may be chance is none: a longer run tells.
  if (rise - margin > limit) yield text;
}
