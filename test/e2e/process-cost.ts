import { readFileSync } from "node:fs";
import type { Program } from "../lab/index.js";

/** What a program has cost since it started. */
export interface ProcessCost {
  /** Of user and system together. */
  readonly cpuMs: number;
  readonly residentKb: number;
}

/** USER_HZ, which is 100 on every architecture that Node runs on. */
const TICK_MS = 10;

export function costOf({ pid }: Program): ProcessCost {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The name may hold anything, so count from its closing bracket, which is followed by field 3.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11]) + Number(fields[12]);
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const residentKb = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
  return { cpuMs: ticks * TICK_MS, residentKb };
}

/** Several programs as one. */
export function totalCost(programs: readonly Program[]): ProcessCost {
  const costs = programs.map(costOf);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return {
    cpuMs: sum(costs.map(({ cpuMs }) => cpuMs)),
    residentKb: sum(costs.map(({ residentKb }) => residentKb)),
  };
}
