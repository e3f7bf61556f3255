import assert from "node:assert/strict";
import { test } from "node:test";
import { Figures, formatFigures } from "./figures.js";
import { median, percentile } from "./statistics.js";

test("median and nearest-rank percentile", () => {
  const values = [5, 1, 4, 2, 3];
  assert.equal(median(values), 3);
  assert.equal(median([...values, 6]), 3.5);
  assert.equal(percentile(values, 0.95), 5);
  assert.equal(percentile(values, 0.2), 1);
  const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
  assert.equal(percentile(hundred, 0.95), 95);
  assert.equal(percentile(hundred, 0.99), 99);
  assert.ok(Number.isNaN(median([])));
});

test("what did not happen is counted, and shown as such", () => {
  const figures = new Figures();
  const key = { measure: "removal", links: 8, unit: "ms" } as const;
  for (const value of [2, undefined, 4]) figures.add({ ...key, peer: "mnm" }, value);
  figures.add({ ...key, peer: "other" }, undefined);
  figures.add({ ...key, peer: "third" }, 6);
  const row = formatFigures(figures.all, ["mnm", "other", "third"]).split("\n").at(-1);
  const cells = row?.split("|").map((cell) => cell.trim());
  const want = ["removal, N=8 (ms)", "3.00, n=2, never 1", "never (1)", "6.00, n=1, ×2.00"];
  assert.deepEqual(cells?.slice(1, -1), want);
});
