import { readdirSync, readFileSync } from "node:fs";
import type { Lab } from "../lab/index.js";

/** What one process holds. */
export interface Holding {
  readonly rssKb: number;
  readonly pssKb: number;
  readonly privateKb: number;
  readonly descriptors: number;
  readonly threads: number;
}

export function holdingOf(pid: number): Holding {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kb = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(rollup)?.[1]);
  return {
    rssKb: kb("Rss"),
    pssKb: kb("Pss"),
    privateKb: kb("Private_Clean") + kb("Private_Dirty"),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
  };
}

/** What the kernel of the host holds for us: rules, routes, addresses; and packet and netlink sockets. */
export async function kernelObjects(lab: Lab): Promise<{
  readonly objects: number;
  readonly sockets: number;
}> {
  const text = await lab.host.shell(
    `ip -4 rule show; ip -4 route show table all; ip -4 -o addr show
    echo sockets
    tail -q -n +2 /proc/net/packet /proc/net/netlink`,
  );
  const [objects = "", sockets = ""] = text.split("\nsockets\n");
  return { objects: lineCount(objects), sockets: lineCount(sockets) };
}

function lineCount(text: string): number {
  return text.split("\n").filter((line) => line.trim() !== "").length;
}

/** By how much a line through the values rises from its beginning to its end, and give or take what. */
export interface Rise {
  readonly rise: number;
  /** Two standard errors. */
  readonly margin: number;
}

/** Ordinary least squares over equidistant values. */
export function riseOf(values: readonly number[]): Rise {
  const count = values.length;
  const middle = (count - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  let products = 0;
  let squares = 0;
  for (const [index, value] of values.entries()) {
    products += (index - middle) * (value - mean);
    squares += (index - middle) ** 2;
  }
  const slope = products / squares;
  const residual = values.reduce(
    (sum, value, index) => sum + (value - mean - slope * (index - middle)) ** 2,
    0,
  );
  const error = Math.sqrt(residual / (count - 2) / squares);
  return { rise: slope * (count - 1), margin: 2 * error * (count - 1) };
}
