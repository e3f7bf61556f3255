import type { LinkKind } from "../link/index.js";

export const MIN_METRIC = 1;
export const MAX_METRIC = 9999;

export type MetricSource = "runtime" | "persisted" | "configured" | "automatic";

export interface Metric {
  readonly value: number;
  readonly source: MetricSource;
}

/** A managed link that needs a metric. */
export interface MetricClaim {
  readonly identity: string;
  readonly kind: LinkKind;
  readonly runtime: number | undefined;
  readonly persisted: number | undefined;
  readonly configured: number | undefined;
  /** The automatic one it had before. */
  readonly automatic: number | undefined;
}

/** Metrics that are spoken for by something that is not one of the claims. */
export interface MetricReservations {
  /** Of other programs' default routes in main: the kernel knows one route per metric. */
  readonly foreign: ReadonlySet<number>;
  /** Configured for links that are absent, and automatic or persisted ones of absent links. */
  readonly absent: ReadonlySet<number>;
}

/**
 * Gives each claim a metric that nobody else has.
 *
 * What was set at run time comes first, then what was persisted, then the configuration, then
 * automatic ones; within one source, in the order of the claims. A claim whose value is taken falls
 * through to its next source, so the outcome is always one metric each.
 */
export function assignMetrics(
  claims: readonly MetricClaim[],
  reservations: MetricReservations,
): ReadonlyMap<string, Metric> {
  const assigned = new Map<string, Metric>();
  const taken = new Set<number>();
  const assign = (identity: string, value: number | undefined, source: MetricSource): void => {
    if (value === undefined || assigned.has(identity) || taken.has(value)) return;
    taken.add(value);
    assigned.set(identity, { value, source });
  };
  for (const { identity, runtime } of claims) assign(identity, runtime, "runtime");
  for (const { identity, persisted } of claims) assign(identity, persisted, "persisted");
  for (const { identity, configured } of claims) assign(identity, configured, "configured");
  for (const { identity, automatic } of claims) {
    if (automatic !== undefined && !isReserved(automatic, reservations)) {
      assign(identity, automatic, "automatic");
    }
  }
  for (const { identity, kind } of claims) {
    if (assigned.has(identity)) continue;
    assign(identity, lowestFree(kind, taken, reservations), "automatic");
  }
  return assigned;
}

function isReserved(value: number, { foreign, absent }: MetricReservations): boolean {
  return foreign.has(value) || absent.has(value);
}

/** Wired before WLAN before WWAN; the ranges of one kind may run over into the next. */
function lowestFree(
  kind: LinkKind,
  taken: ReadonlySet<number>,
  reservations: MetricReservations,
): number | undefined {
  for (let value = baseOf(kind); value <= MAX_METRIC; value += 1) {
    if (!taken.has(value) && !isReserved(value, reservations)) return value;
  }
  for (let value = baseOf(kind) - 1; value >= MIN_METRIC; value -= 1) {
    if (!taken.has(value) && !reservations.foreign.has(value)) return value;
  }
  return undefined;
}

function baseOf(kind: LinkKind): number {
  switch (kind) {
    case "wlan":
      return 4000;
    case "wwan":
    case "ppp":
      return 7000;
    default:
      return 1000;
  }
}
