/** How text stands out, where colour is on. */
export type Style = "strong" | "dim" | "good" | "warn" | "bad";

/** A piece of a line. */
export type Span = string | { readonly text: string; readonly style: Style };

export type Line = readonly Span[];

const SGR: Readonly<Record<Style, string>> = {
  strong: "1",
  dim: "2",
  good: "32",
  warn: "33",
  bad: "31",
};

/**
 * Lines as they are written. The only way from data to the terminal: kernel, servers and other
 * programs have put text into what is shown, so each span is escaped here, where none is missed.
 */
export function formatPage(lines: readonly Line[], useColor: boolean): string {
  return lines.map((line) => `${formatLine(line, useColor).trimEnd()}\n`).join("");
}

function formatLine(line: Line, useColor: boolean): string {
  return line
    .map((span) => {
      const text = printable(textOf(span));
      if (typeof span === "string" || !useColor || text.trim() === "") return text;
      return `\x1b[${SGR[span.style]}m${text}\x1b[0m`;
    })
    .join("");
}

/** One column of a table. */
export interface Column {
  readonly title: string;
  readonly align: "left" | "right";
}

/** Lines of a table in aligned columns, two spaces apart; the first is of titles. */
export function tableOf(columns: readonly Column[], rows: readonly (readonly Span[])[]): Line[] {
  const titles = columns.map(({ title }) => title);
  const widths = columns.map((_, index) =>
    Math.max(...[titles, ...rows].map((row) => widthOf(row[index] ?? ""))),
  );
  return [titles, ...rows].map((row) =>
    columns.flatMap(({ align }, index) => {
      const cell = row[index] ?? "";
      const gap = " ".repeat((widths[index] ?? 0) - widthOf(cell));
      const separator = index === 0 ? "" : "  ";
      return align === "left" ? [separator, cell, gap] : [separator, gap, cell];
    }),
  );
}

/** How many columns a span takes on the terminal. */
export function widthOf(span: Span): number {
  return [...printable(textOf(span))].length;
}

export function lineWidthOf(line: Line): number {
  return line.reduce((sum, span) => sum + widthOf(span), 0);
}

function textOf(span: Span): string {
  return typeof span === "string" ? span : span.text;
}

/** Text without what a terminal would obey: control, format (bidirectional) and line characters. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, escaped);
}

function escaped(character: string): string {
  const code = (character.codePointAt(0) ?? 0).toString(16);
  return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u{${code}}`;
}
