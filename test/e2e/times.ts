/** The value below which this share of the values lies, in percent (nearest rank). */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN;
}

export function describeTimes(values: readonly number[]): string {
  const [median, high, most] = [50, 95, 100].map((percent) =>
    percentile(values, percent).toFixed(0),
  );
  return `median ${median}, p95 ${high}, max ${most} of ${values.length}`;
}
