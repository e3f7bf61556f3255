/**
 * make bench [ONLY=hotplug,idle] [N=8,32] [RUNS=20] [PEERS=mnm,dhcpcd] [QUICK=1]
 *
 * Measures MNM and its peers in turn, on labs that are alike, and prints one table. The figures
 * also go to bench/results/DATE.json.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { Figures, formatFigures } from "./figures.js";
import { coldStart } from "./measures/cold-start.js";
import type { Context } from "./measures/context.js";
import { decoder } from "./measures/decoder.js";
import { hotplug } from "./measures/hotplug.js";
import { eventLatency } from "./measures/latency.js";
import { reconcile } from "./measures/reconcile.js";
import { idle, memory, thousand } from "./measures/resources.js";
import { restart, unpluggedWhileDead } from "./measures/restart.js";
import type { Peer } from "./peer.js";
import { dhcpcd, multi, udhcpc } from "./peers/clients.js";
import { MNM } from "./peers/mnm.js";
import { networkManager } from "./peers/network-manager.js";
import { networkd } from "./peers/networkd.js";
import { BENCH, compileTools, unpackPeers } from "./tools.js";

const MEASURES: Readonly<Record<string, (context: Context) => Promise<void> | void>> = {
  decoder,
  hotplug,
  cold: coldStart,
  restart,
  dead: unpluggedWhileDead,
  latency: eventLatency,
  memory,
  thousand,
  reconcile,
  idle,
};

/** Each program's way to be started; what it needs is looked for only when it is wanted. */
const PEERS: Readonly<Record<string, (root: string) => Peer>> = {
  mnm: () => MNM,
  networkd,
  NetworkManager: networkManager,
  dhcpcd,
  udhcpc,
  multi: () => multi(process.env["MULTI_BINARY"] ?? ""),
};

async function main(): Promise<void> {
  const { ONLY, N, RUNS, QUICK, MULTI_BINARY } = process.env;
  const measures = chosen(ONLY, Object.keys(MEASURES));
  const known = Object.keys(PEERS).filter((name) => name !== "multi" || MULTI_BINARY);
  const names = chosen(process.env["PEERS"], known);
  const tools = compileTools();
  const root = unpackPeers();
  const context: Context = {
    tools,
    peers: names.flatMap((name) => PEERS[name]?.(root) ?? []),
    figures: new Figures(),
    links: N ? N.split(",").map(positive) : undefined,
    runs: RUNS ? positive(RUNS) : undefined,
    quick: Boolean(QUICK),
  };
  const startedAt = performance.now();
  for (const name of measures) {
    const from = performance.now();
    try {
      await MEASURES[name]?.(context);
    } catch (error) {
      context.figures.fail(name, error);
    }
    console.error(`${name}: ${((performance.now() - from) / 1000).toFixed(1)} s`);
  }
  report(context, names, (performance.now() - startedAt) / 1000);
}

function report({ figures, quick }: Context, peers: readonly string[], seconds: number): void {
  const date = new Date().toISOString();
  const [cpu] = cpus();
  const machine = {
    cpu: cpu?.model.trim() ?? "unknown",
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1e9),
    kernel: release(),
    node: process.version,
  };
  console.log(`\n${date}, ${Object.values(machine).join(", ")}${quick ? ", QUICK" : ""}\n`);
  console.log(formatFigures(figures.all, peers));
  for (const failure of figures.failures) console.log(`NOT MEASURED  ${failure}`);
  const file = `${BENCH}/results/${date.replaceAll(":", "-")}.json`;
  mkdirSync(`${BENCH}/results`, { recursive: true });
  const { all, failures } = figures;
  const content = { date, machine, quick, seconds, figures: all, failures };
  writeFileSync(file, `${JSON.stringify(content, undefined, 1)}\n`);
  console.log(`\n${seconds.toFixed(0)} s; ${file}`);
  if (failures.length > 0) process.exitCode = 1;
}

function chosen(text: string | undefined, all: readonly string[]): readonly string[] {
  const names = text ? text.split(",") : all;
  const unknown = names.filter((name) => !all.includes(name));
  if (unknown.length > 0) throw new Error(`${unknown} is none of ${all}`);
  // In the order of the table, MNM first, whatever was typed.
  return all.filter((name) => names.includes(name));
}

function positive(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new Error(`${text} is not a positive number`);
  return number;
}

await main();
