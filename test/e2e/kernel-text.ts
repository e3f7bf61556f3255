import type { Namespace } from "../lab/index.js";

/**
 * What the kernel of a namespace holds, as ip(8) shows it, made comparable: MACs, ifindexes and
 * lifetimes replaced, equal priorities sorted, what the kernel itself keeps (table local, loopback,
 * IPv6) left out.
 */
export interface KernelText {
  readonly rules: readonly string[];
  readonly routes: readonly string[];
  readonly addresses: readonly string[];
}

export async function kernelText(host: Namespace): Promise<KernelText> {
  const [rules, routes, addresses] = await Promise.all([
    host.ip("-4", "rule"),
    host.ip("-4", "route", "show", "table", "all"),
    host.ip("-4", "-o", "addr"),
  ]);
  return {
    rules: lines(rules).toSorted(byPriority),
    routes: lines(routes)
      .filter((line) => !line.includes("table local"))
      .toSorted(),
    addresses: lines(addresses)
      .filter((line) => !line.includes(" lo "))
      .map(normaliseAddress)
      .toSorted(),
  };
}

/** All of it that carries the mark: empty when nothing of ours is left. */
export async function ours(host: Namespace): Promise<readonly string[]> {
  const { rules, routes, addresses } = await kernelText(host);
  const isOurs = (line: string) => /\bproto(col)? 77\b|\bproto mnm\b/.test(line);
  return [
    ...rules.filter(isOurs),
    ...routes.filter(isOurs),
    // iproute2 here cannot show IFA_PROTO, and nobody else in the lab uses noprefixroute.
    ...addresses.filter((line) => line.includes("noprefixroute")),
  ];
}

function lines(text: string): readonly string[] {
  return text
    .split("\n")
    .map((line) => line.trim().replace(/\s+/g, " "))
    .filter((line) => line !== "");
}

function byPriority(a: string, b: string): number {
  return Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1);
}

function normaliseAddress(line: string): string {
  return line
    .replace(/^\d+: /, "")
    .replaceAll("\\ ", " ")
    .replace(/\s+/g, " ")
    .replace(/valid_lft \d+sec/, "valid_lft N")
    .replace(/preferred_lft \d+sec/, "preferred_lft N");
}
