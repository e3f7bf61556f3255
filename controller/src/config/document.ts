import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Node,
  parseDocument,
  type YAMLError,
} from "yaml";
import { type Report, shorten } from "./problem.js";

/**
 * YAML reduced to what a configuration needs: every scalar is text, whether quoted or not, so
 * that `on`, `0x10` and `12:30:00` mean what they say; anchors are resolved, tags are refused.
 */
export type YamlNode =
  | { readonly kind: "scalar"; readonly at: number; readonly value: string }
  | { readonly kind: "map"; readonly at: number; readonly entries: readonly MapEntry[] }
  | { readonly kind: "list"; readonly at: number };

export interface MapEntry {
  readonly key: string;
  readonly keyAt: number;
  readonly value: YamlNode;
}

/** Far above what a host with 1,999 links needs. */
const MAX_TEXT_LENGTH = 256 * 1024;

const MAX_ALIASES = 100;

/** Keeps the converter's own recursion small; a configuration needs three levels. */
const MAX_DEPTH = 8;

// Tab, line feed, and carriage return before it are layout; U+FFFD is what bytes that are not
// UTF-8 become when a file is read as text.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const FORBIDDEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]|\r(?!\n)/;

/**
 * Reads a text of one YAML document; undefined when it is empty or when there is nothing to go
 * on with, and then the report says why.
 */
export function readDocument(text: string, report: Report): YamlNode | undefined {
  if (text.length > MAX_TEXT_LENGTH) {
    report.add(
      0,
      "",
      `The file has ${text.length} characters; at most ${MAX_TEXT_LENGTH} are read`,
    );
    return undefined;
  }
  const forbidden = FORBIDDEN.exec(text);
  if (forbidden !== null) {
    report.add(forbidden.index, "", `${characterName(forbidden[0])} has no place here; remove it`);
    return undefined;
  }
  const document = compose(text, report);
  if (document === undefined) return undefined;
  reportErrors([...document.errors, ...document.warnings], text, report);
  if (!report.isEmpty || document.contents === null) return undefined;
  return new Converter({ report }).convert(document.contents, 0);
}

/** The first error at each place: those that follow it there are its consequences. */
function reportErrors(errors: readonly YAMLError[], text: string, report: Report): void {
  const exhausted = errors.find(({ code }) => code === "RESOURCE_EXHAUSTION");
  if (exhausted !== undefined) {
    report.add(exhausted.pos[0], "", "Nested too deeply to be read");
    return;
  }
  const places = new Set<number>();
  for (const { pos, code, message } of errors) {
    if (places.has(pos[0])) continue;
    places.add(pos[0]);
    const value = text.slice(pos[0], pos[1]).trim();
    const isSecond = code === "MULTIPLE_DOCS";
    const what = isSecond ? "a second document begins here; only one is read" : message;
    report.add(pos[0], value, `Not valid YAML: ${shorten(what, 120)}`);
  }
}

function compose(text: string, report: Report): Document.Parsed | undefined {
  try {
    return parseDocument(text, {
      schema: "failsafe",
      resolveKnownTags: false,
      prettyErrors: false,
      // Compares every key with every other; the converter has a better sentence, and a map.
      uniqueKeys: false,
      logLevel: "error",
    });
  } catch {
    // The library recurses: some thousand nested brackets exhaust the stack.
    report.add(0, "", "Nested too deeply to be read");
    return undefined;
  }
}

/** Turns the library's tree into ours, in the order of the text. */
class Converter {
  readonly #report: Report;
  /** An alias shares the converted node, so that aliases of aliases cost nothing. */
  readonly #anchored = new Map<string, YamlNode>();
  #aliases = 0;

  constructor(dependencies: { readonly report: Report }) {
    this.#report = dependencies.report;
  }

  convert(node: Node, depth: number): YamlNode | undefined {
    const at = node.range?.[0] ?? 0;
    if (isAlias(node)) return this.#resolve(node.source, at);
    if (depth > MAX_DEPTH) {
      this.#report.add(at, "", "Nested too deeply; nothing here has more than three levels");
      return undefined;
    }
    if (node.tag !== undefined) {
      this.#report.add(at, node.tag, `The tag ${shorten(node.tag)} has no meaning here; remove it`);
      return undefined;
    }
    const converted = this.#content(node, { at, depth });
    if (node.anchor !== undefined && converted !== undefined) {
      this.#anchored.set(node.anchor, converted);
    }
    return converted;
  }

  #content(node: Node, place: { readonly at: number; readonly depth: number }) {
    if (isMap<Node, Node | null>(node)) return this.#map(node.items, place);
    if (isSeq(node)) return { kind: "list", at: place.at } as const;
    return this.#scalar(isScalar(node) ? node.value : undefined, place.at);
  }

  #resolve(anchor: string, at: number): YamlNode | undefined {
    const target = this.#anchored.get(anchor);
    this.#aliases++;
    if (target === undefined || this.#aliases > MAX_ALIASES) {
      const why = target === undefined ? "has no anchor before it" : "is one alias too many";
      this.#report.add(at, `*${anchor}`, `*${shorten(anchor)} ${why}; write the value out`);
      return undefined;
    }
    // Problems are reported where the alias stands: that is the entry they are about.
    return { ...target, at };
  }

  #map(
    items: readonly { readonly key: Node; readonly value: Node | null }[],
    { at, depth }: { readonly at: number; readonly depth: number },
  ): YamlNode {
    const firstOf = new Map<string, number>();
    const entries: MapEntry[] = [];
    for (const item of items) {
      const key = this.convert(item.key, depth + 1);
      const keyAt = item.key.range?.[0] ?? at;
      if (key !== undefined && key.kind !== "scalar") {
        this.#report.add(keyAt, "", "A key has to be a word; this is a collection");
      }
      if (key?.kind !== "scalar") continue;
      const value =
        item.value === null
          ? ({ kind: "scalar", at: keyAt, value: "" } as const)
          : this.convert(item.value, depth + 1);
      const first = firstOf.get(key.value);
      if (first !== undefined) {
        const line = this.#report.lineOf(first);
        const name = shorten(key.value);
        this.#report.add(keyAt, key.value, `${name} is here twice, first in line ${line}`);
      } else {
        firstOf.set(key.value, keyAt);
        if (value !== undefined) entries.push({ key: key.value, keyAt, value });
      }
    }
    return { kind: "map", at, entries };
  }

  #scalar(value: unknown, at: number): YamlNode | undefined {
    const text = typeof value === "string" ? value : "";
    const forbidden = FORBIDDEN.exec(text) ?? /[\t\n\r\u2028\u2029]/.exec(text);
    if (forbidden === null) return { kind: "scalar", at, value: text };
    this.#report.add(at, "", `${characterName(forbidden[0])} has no place here; remove it`);
    return undefined;
  }
}

function characterName(character: string): string {
  if (character === "\ufffd") return "A byte that is not UTF-8";
  const code = character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  return `The control character U+${code}`;
}
