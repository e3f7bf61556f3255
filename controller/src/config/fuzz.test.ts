import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { randomFrom } from "../testing/dhcp4-mutations.js";
import { DEFAULT_CONFIG, parseConfig } from "./index.js";

/** COUNT=100000 for the long run. */
const COUNT = Number(process.env["COUNT"] || 10_000);
const SEED = Number(process.env["SEED"] || 20260106);

const EXAMPLES = join(import.meta.dirname, "../../../examples");
const SOURCES = ["mnm.yaml", "multi.yaml"].map((name) =>
  // Comments are most of it, and the least interesting part.
  readFileSync(join(EXAMPLES, name), "utf8").replace(/^ *#.*\n/gm, ""),
);

/** What people mistype, what YAML takes for its own, and what JavaScript's objects all have. */
const PIECES = [
  ...["", " ", "  ", "\n", "\n  ", "\t", ":", ": ", "- ", "? ", "{", "}", "[", "]", ",", "#", "|"],
  ...["&a ", "*a", "<<: *a\n", "!!js/function ", "!!binary ", "%YAML 9\n", "---\n", "...\n", "'"],
  ...["__proto__: ", "constructor: ", "toString", "hasOwnProperty: {}\n", "prototype"],
  ...["0", "-1", "1e9", ".inf", ".nan", "0x7f", "9999999999", "~", "null", "true", "192.0.2.7/33"],
  ...["\0", "\u001b[2J", "\u202e", "\u2028", "\ufeff", "é", "😀", "\ud800", "x".repeat(300)],
] as const;

const BUILT_IN = Reflect.ownKeys(Object.prototype).length;

describe("parseConfig(), fuzzed", () => {
  test(`${COUNT} broken files: read, or refused with a line that is there; never an exception`, (context) => {
    const random = randomFrom(SEED);
    let read = 0;
    for (let turn = 0; turn < COUNT; turn += 1) {
      const text = broken(SOURCES[random(SOURCES.length)] ?? "", random);
      try {
        if (isReadOrRefused(text)) read += 1;
      } catch (cause) {
        throw new Error(`File ${turn} of seed ${SEED}: ${JSON.stringify(text)}`, { cause });
      }
    }
    context.diagnostic(`seed ${SEED}: ${read} of ${COUNT} were read`);
    // They are neither all noise nor all well.
    assert.ok(read > COUNT / 100 && read < COUNT * 0.9, `${read} were read`);
    assert.equal(Reflect.ownKeys(Object.prototype).length, BUILT_IN);
  });

  for (const key of ["__proto__", "constructor", "toString", "prototype", "hasOwnProperty"]) {
    test(`${key} is an unknown key, and a name like any other for a link`, () => {
      const top = parseConfig(`${key}: { links: {} }\n`, "f");
      assert.match(top.ok ? "" : (top.error[0]?.text ?? ""), /unknown/i);
      const inside = parseConfig(`links: { eth0: { ${key}: { metric: 5 } } }\n`, "f");
      assert.match(inside.ok ? "" : (inside.error[0]?.text ?? ""), /unknown/i);
      const link = parseConfig(`links: { ${key}: { metric: 5 } }\n`, "f");
      assert.deepEqual(link.ok ? link.value.links.map(({ metric }) => metric) : link.error, [5]);
    });
  }

  test("nothing but a configuration comes of it: an empty one is the default", () => {
    assert.deepEqual(parseConfig("", "f"), { ok: true, value: DEFAULT_CONFIG });
  });
});

function broken(source: string, random: (limit: number) => number): string {
  let text = source;
  for (let edit = 1 + random(3); edit > 0; edit -= 1) {
    const at = random(text.length + 1);
    const end = at + (random(4) === 0 ? random(60) : random(3));
    const piece = random(3) === 0 ? `${random(10)}` : (PIECES[random(PIECES.length)] ?? "");
    text = text.slice(0, at) + piece.repeat(random(50) === 0 ? 200 : 1) + text.slice(end);
  }
  return text;
}

/** Whether it was read; asserts that it was refused well otherwise. */
function isReadOrRefused(text: string): boolean {
  const result = parseConfig(text, "f");
  if (result.ok) return true;
  assert.ok(result.error.length > 0);
  const lines = text.split("\n");
  for (const { line, column, text: sentence } of result.error) {
    assert.ok(line >= 1 && line <= lines.length, `line ${line} of ${lines.length}`);
    assert.ok(column >= 1 && column <= (lines[line - 1] ?? "").length + 1, `column ${column}`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for
    assert.doesNotMatch(sentence, /[\0-\x1f\x7f]/);
  }
  return false;
}
