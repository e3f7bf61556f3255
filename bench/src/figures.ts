import { median, percentile } from "./statistics.js";

export type Unit = "ms" | "kB" | "CPU ms" | "pings" | "times" | "/s" | "of 8";

/** What one program reached in one measure. */
export interface Figure {
  readonly measure: string;
  readonly links: number;
  readonly peer: string;
  readonly unit: Unit;
  readonly values: readonly number[];
  /** How often it did not happen at all within the time it was given. */
  readonly missed: number;
}

/** All figures of a run, as they come. */
export class Figures {
  readonly all: Figure[] = [];
  /** What could not be measured, and why. */
  readonly failures: string[] = [];

  /** Adds a value, or that there was none, to the figure it belongs to. */
  add(
    { measure, links, peer, unit }: Omit<Figure, "values" | "missed">,
    value: number | undefined,
  ): void {
    const index = this.all.findIndex(
      (known) => known.measure === measure && known.links === links && known.peer === peer,
    );
    const before = this.all[index] ?? { measure, links, peer, unit, values: [], missed: 0 };
    const after =
      value === undefined || Number.isNaN(value)
        ? { ...before, missed: before.missed + 1 }
        : { ...before, values: [...before.values, value] };
    if (index < 0) this.all.push(after);
    else this.all[index] = after;
  }

  fail(what: string, error: unknown): void {
    const text = `${what}: ${error instanceof Error ? error.message : String(error)}`;
    console.error(`NOT MEASURED  ${text}`);
    this.failures.push(text);
  }
}

/** A table: measures down, programs across, each with its ratio to the first, MNM. */
export function formatFigures(figures: readonly Figure[], peers: readonly string[]): string {
  const rows = new Map<string, Figure[]>();
  for (const figure of figures) {
    const key = `${figure.measure}, N=${figure.links} (${figure.unit})`;
    rows.set(key, [...(rows.get(key) ?? []), figure]);
  }
  const shown = peers.filter((peer) => figures.some((figure) => figure.peer === peer));
  const lines = [...rows].map(([name, row]) => {
    const ours = row.find(({ peer }) => peer === shown[0]);
    return [
      name,
      ...shown.map((peer) =>
        cell(
          row.find((figure) => figure.peer === peer),
          ours,
        ),
      ),
    ];
  });
  const all = [[`median / p95, n, ratio to ${shown[0] ?? ""}`, ...shown], ...lines];
  const widths = all[0]?.map((_, column) =>
    Math.max(...all.map((row) => row[column]?.length ?? 0)),
  );
  const format = (row: readonly string[]) =>
    `| ${row.map((text, column) => text.padEnd(widths?.[column] ?? 0)).join(" | ")} |`;
  const rule = `|${widths?.map((width) => "-".repeat(width + 2)).join("|")}|`;
  return [format(all[0] ?? []), rule, ...all.slice(1).map(format)].join("\n");
}

function cell(figure: Figure | undefined, ours: Figure | undefined): string {
  if (figure === undefined) return "";
  const { values, missed } = figure;
  if (values.length === 0) return `never (${missed})`;
  const middle = median(values);
  const spread = values.length > 2 ? ` / ${short(percentile(values, 0.95))}` : "";
  const never = missed > 0 ? `, never ${missed}` : "";
  const base = ours === undefined || ours === figure ? 0 : median(ours.values);
  const ratio = base > 0 ? `, ×${short(middle / base)}` : "";
  return `${short(middle)}${spread}, n=${values.length}${never}${ratio}`;
}

function short(value: number): string {
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}
