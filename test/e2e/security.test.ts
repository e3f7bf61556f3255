import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { REPOSITORY } from "../lab/identity.js";

/** What of Node's own each program is made of. A new one is a decision: see docs/SECURITY.md. */
const MODULES = {
  helper: ["crypto", "fs", "net", "util"],
  controller: [
    ...["crypto", "fs", "fs/promises", "net", "os", "path", "timers", "timers/promises", "util"],
    "child_process: background.ts",
  ],
};

/** By which text becomes code, or memory becomes content that nobody wrote there; a buffer to read into is fine. */
const FORBIDDEN =
  /\beval\(|new Function\(|node:vm\b|allocUnsafe(?!Slow\(BUFFER_LENGTH\))|\bfetch\(|\bWebSocket\b/;

function sourcesOf(program: string): readonly { readonly name: string; readonly text: string }[] {
  const folder = join(REPOSITORY, program, "src");
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !/\.test\.ts$|^testing\//.test(name))
    .map((name) => ({ name, text: readFileSync(join(folder, name), "utf8") }));
}

describe("what the programs are made of", () => {
  for (const [program, allowed] of Object.entries(MODULES)) {
    test(`${program}: no server of datagrams or HTTP, and no other program but where it is named`, () => {
      const found = new Set<string>();
      for (const { name, text } of sourcesOf(program)) {
        for (const [, module = ""] of text.matchAll(
          /(?:from|import|require)\s*\(?"node:([a-z_/]+)"/g,
        )) {
          const isTold = module === "child_process";
          found.add(isTold ? `${module}: ${name.replace(/^.*\//, "")}` : module);
        }
      }
      assert.deepEqual(
        [...found].filter((module) => !allowed.includes(module)),
        [],
      );
      assert.deepEqual(
        allowed.filter((module) => !found.has(module)),
        [],
        "named for nothing",
      );
    });

    test(`${program}: nothing becomes code, and no memory is sent that was not written`, () => {
      const sources = sourcesOf(program);
      assert.ok(sources.length > 10);
      const bad = sources.filter(({ text }) => FORBIDDEN.test(text)).map(({ name }) => name);
      assert.deepEqual(bad, []);
    });
  }
});

/** A test as the documents name it: `file.test.ts`: "title". Where the title is made, a part of it. */
const NAMED = /`([\w./-]+\.test\.ts)`: ("[^"|]+"(?:, "[^"|]+")*)/g;

for (const document of ["SECURITY.md", "cve-lessons.md"]) {
  test(`docs/${document} names tests that there are`, () => {
    const text = readFileSync(join(REPOSITORY, "docs", document), "utf8").replace(/\s*\n\s*/g, " ");
    const named = [...text.matchAll(NAMED)];
    assert.ok(named.length >= 10, `${named.length} tests named`);
    for (const [, file = "", titles = ""] of named) {
      const source = readFileSync(join(REPOSITORY, file), "utf8");
      for (const [, title = ""] of titles.matchAll(/"([^"]+)"/g)) {
        assert.ok(source.includes(title), `${file} has "${title}"`);
      }
    }
    const files = [...text.matchAll(/`([\w./-]+\.test\.ts)`/g)].length;
    const untitled = files - named.length;
    assert.equal(untitled, 0, "every test file is named with a title");
  });
}

test("every lesson has a test, or says why none", () => {
  const text = readFileSync(join(REPOSITORY, "docs/cve-lessons.md"), "utf8");
  const rows = text.split("\n").filter((line) => /^\| (?!Lesson|-)/.test(line));
  assert.ok(rows.length >= 29, `${rows.length} lessons`);
  for (const row of rows) {
    const [, lesson = "", rule = "", shown = ""] = row.split("|").map((cell) => cell.trim());
    assert.ok(lesson.length > 0 && rule.length > 0, row);
    assert.match(shown, /`[\w./-]+\.test\.ts`: "|^not here: /, lesson);
  }
});
