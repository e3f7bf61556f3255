import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { StateFile } from "./state-file.js";

let directory = "";
let faults: string[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mnm-state-"));
  faults = [];
});

afterEach(() => rmSync(directory, { recursive: true }));

function stateFile(under = directory): StateFile {
  return new StateFile(under, (text) => faults.push(text));
}

test("what was saved last is there, for its owner alone", () => {
  const file = stateFile();
  assert.equal(file.load(), undefined);
  assert.equal(file.save({ version: 1, slot: 1 }), true);
  assert.equal(file.save({ version: 1, slot: 2 }), true);
  assert.deepEqual(stateFile().load(), { version: 1, slot: 2 });
  assert.equal(statSync(join(directory, "state.json")).mode & 0o777, 0o600);
  assert.equal(existsSync(join(directory, "state.json.new")), false);
  assert.deepEqual(faults, []);
});

test("a missing directory is made", () => {
  assert.equal(stateFile(join(directory, "a", "b")).save({}), true);
});

test("what a killed program left does not lend its mode to the file", () => {
  const path = join(directory, "state.json");
  writeFileSync(`${path}.new`, "{", { mode: 0o644 });
  assert.equal(stateFile().save({}), true);
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test("a damaged file is moved aside and reported", () => {
  const path = join(directory, "state.json");
  writeFileSync(path, '{"version":1,');
  assert.equal(stateFile().load(), undefined);
  assert.equal(readFileSync(`${path}.damaged`, "utf8"), '{"version":1,');
  assert.equal(existsSync(path), false);
  assert.match(faults.join(), /state\.json is damaged and was moved to .*state\.json\.damaged: /);
});

test("a file of absurd size is not read into memory", () => {
  const path = join(directory, "state.json");
  writeFileSync(path, "");
  truncateSync(path, 10 * 1024 ** 3);
  assert.equal(stateFile().load(), undefined);
  assert.match(faults.join(), /damaged .*10737418240 bytes/);
});

test("what cannot be read is left alone and reported", () => {
  mkdirSync(join(directory, "state.json"));
  assert.equal(stateFile().load(), undefined);
  assert.match(faults.join(), /Cannot read .*EISDIR/);
});

test("what cannot be written is reported once until it works again", () => {
  // A file where the directory should be: root's permissions do not help against that.
  const blocked = join(directory, "blocked");
  writeFileSync(blocked, "");
  const file = stateFile(blocked);
  assert.equal(file.save({}), false);
  assert.equal(file.save({}), false);
  assert.equal(faults.length, 1);
  assert.match(faults.join(), /Cannot write .*state\.json/);
  assert.equal(file.fault, faults[0]);
  rmSync(blocked);
  assert.equal(file.save({}), true);
  assert.equal(file.fault, undefined);
  rmSync(blocked, { recursive: true });
  writeFileSync(blocked, "");
  assert.equal(file.save({}), false);
  assert.equal(faults.length, 2);
});
