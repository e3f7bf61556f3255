/** What is wrong at one place of a configuration file. */
export interface ConfigProblem {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
  /** The offending text, shortened. */
  readonly value: string;
  /** One sentence: what is wrong, and what would be right. */
  readonly text: string;
}

/** `file:line:column: text`, as compilers say it, so that editors can jump there. */
export function formatProblem(problem: ConfigProblem): string {
  return `${problem.file}:${problem.line}:${problem.column}: ${problem.text}`;
}

/** More of them help nobody, and they have to fit into the trailing metadata of an answer. */
const MAX_PROBLEMS = 50;

const MAX_VALUE_LENGTH = 40;

/** Collects the problems of one file. */
export class Report {
  readonly #file: string;
  /** The offset at which each line begins. */
  readonly #lineStarts: readonly number[];
  readonly #found: { readonly at: number; readonly value: string; readonly text: string }[] = [];

  constructor(source: { readonly text: string; readonly file: string }) {
    this.#file = source.file;
    this.#lineStarts = [0, ...Array.from(source.text.matchAll(/\n/g), ({ index }) => index + 1)];
  }

  /** `at` is an offset into the text. */
  add(at: number, value: string, text: string): void {
    this.#found.push({ at, value: shorten(value), text });
  }

  get isEmpty(): boolean {
    return this.#found.length === 0;
  }

  /** The line that holds an offset, from 1. */
  lineOf(at: number): number {
    let low = 0;
    let high = this.#lineStarts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.#lineStarts[middle] ?? 0) <= at) low = middle;
      else high = middle;
    }
    return low + 1;
  }

  /** In the order of the file. */
  problems(): readonly ConfigProblem[] {
    const sorted = [...this.#found].sort((a, b) => a.at - b.at);
    const shown = sorted.slice(0, MAX_PROBLEMS).map(({ at, value, text }) => ({
      file: this.#file,
      line: this.lineOf(at),
      column: at - (this.#lineStarts[this.lineOf(at) - 1] ?? 0) + 1,
      value,
      text,
    }));
    const last = shown.at(-1);
    const hidden = sorted.length - shown.length;
    if (last === undefined || hidden === 0) return shown;
    return [...shown, { ...last, value: "", text: `${hidden} more problems after this one` }];
  }
}

/** Text from a file as it may stand in a sentence. */
export function shorten(text: string, length = MAX_VALUE_LENGTH): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}

/** "did you mean" for a key that is nearly right, else the list of those there are. */
export function suggest(unknown: string, known: readonly string[]): string {
  const limit = unknown.length <= 4 ? 1 : 2;
  const [nearest] = known
    .map((key) => ({ key, distance: editDistance(unknown.slice(0, 64), key) }))
    .sort((a, b) => a.distance - b.distance);
  if (nearest !== undefined && nearest.distance <= limit) return `did you mean ${nearest.key}?`;
  return `known are ${known.join(", ")}`;
}

/** Insertions, deletions, substitutions and exchanged neighbours between two words. */
function editDistance(a: string, b: string): number {
  let beforeLast: readonly number[] = [];
  let last: readonly number[] = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const cost = a[row - 1] === b[column - 1] ? 0 : 1;
      const isSwap = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current.push(
        Math.min(
          at(last, column) + 1,
          at(current, column - 1) + 1,
          at(last, column - 1) + cost,
          isSwap ? at(beforeLast, column - 2) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    beforeLast = last;
    last = current;
  }
  return at(last, b.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY;
}
