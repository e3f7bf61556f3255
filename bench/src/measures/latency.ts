import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { SubscribeRequest } from "@mnm/proto/network-manager";
import { type Bed, withBeds } from "../bed.js";
import { opening } from "../http2-opening.js";
import type { KernelEvent } from "../kernel-timeline.js";
import { percentile } from "../statistics.js";
import { type Context, note } from "./context.js";

const SUBSCRIBERS = 100;
const MEASURE = `event latency, ${SUBSCRIBERS} subscribers`;

/** From the kernel's notification of a lost or returned carrier to each of a hundred subscribers. */
export async function eventLatency(context: Context): Promise<void> {
  const changes = context.runs ?? (context.quick ? 10 : 40);
  const mnm = context.peers.filter(({ name }) => name === "mnm");
  const uplinks = context.links?.[0] ?? 8;
  await withBeds(mnm, { uplinks, tools: context.tools }, async ([bed]) => {
    if (bed !== undefined) await subscribed(context, bed, changes);
  });
  const { figures } = context;
  const latency = figures.all.find(({ measure }) => measure === MEASURE);
  if (latency !== undefined) {
    const p99 = percentile(latency.values, 0.99);
    figures.add({ ...latency, measure: `${MEASURE}: p99` }, p99);
  }
}

async function subscribed(context: Context, bed: Bed, changes: number): Promise<void> {
  const socket = bed.lab.launcher.controllerSocket;
  const command = [String(SUBSCRIBERS), socket];
  const child = spawn(context.tools.subscribers, command, { stdio: ["pipe", "pipe", "inherit"] });
  try {
    const request = { resumeAfter: undefined, links: [], noSnapshot: true, heartbeatMs: 0 };
    // CARRIER_CHANGED: what the kernel says, without anything that MNM does of its own.
    const bytes = SubscribeRequest.encode({ ...request, kinds: [4] }).finish();
    child.stdin.end(opening("/mnm.v1.NetworkManager/Subscribe", bytes));
    const arrivals: (readonly [at: number, connection: number])[] = [];
    const lines = createInterface({ input: child.stdout });
    const ready = once(lines, "line");
    lines.on("line", (line) => {
      const [at, connection] = line.split(" ").map(Number);
      arrivals.push([at ?? Number.NaN, connection ?? Number.NaN]);
    });
    await ready;
    // Headers and `synced` arrive.
    await delay(1000);
    for (let change = 0; change < changes; change += 1) {
      const { kernel, lab } = bed;
      const [mark, arrived] = [kernel.mark(), arrivals.length];
      await (change % 2 === 0 ? lab.unplug(1) : lab.plug(1));
      await kernel.until(2000, () => arrivals.length - arrived >= SUBSCRIBERS);
      await delay(100);
      const isIts = ({ kind, words }: KernelEvent) => kind === "link" && words[0] === bed.links[1];
      const at = kernel.events.slice(mark).find(isIts)?.at;
      noteArrivals(context, bed, { at, arrivals: arrivals.slice(arrived) });
    }
  } finally {
    child.kill("SIGKILL");
  }
}

function noteArrivals(
  context: Context,
  bed: Bed,
  {
    at,
    arrivals,
  }: {
    readonly at: number | undefined;
    readonly arrivals: readonly (readonly [number, number])[];
  },
): void {
  const firsts = new Map(arrivals.toReversed().map(([time, connection]) => [connection, time]));
  for (let connection = 0; connection < SUBSCRIBERS; connection += 1) {
    const time = firsts.get(connection);
    const value = at === undefined || time === undefined ? undefined : time - at;
    note(context, bed, [MEASURE, "ms"], value);
  }
}
