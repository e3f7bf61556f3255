import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { LeaseStore } from "./lease-store.js";

let directory = "";
let faults: string[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mnm-leases-"));
  faults = [];
});

afterEach(() => rmSync(directory, { recursive: true }));

function leaseStore(under = directory): LeaseStore {
  return new LeaseStore(under, (text) => faults.push(text));
}

function files(): readonly string[] {
  return readdirSync(join(directory, "leases"));
}

test("a lease is there after a restart, and gone when it was removed", async () => {
  const store = leaseStore();
  assert.equal(store.load("eth0"), undefined);
  store.save("eth0", { address: "192.0.2.2" });
  assert.deepEqual(store.load("eth0"), { address: "192.0.2.2" }, "before it is on the disk");
  await store.flush();
  assert.deepEqual(leaseStore().load("eth0"), { address: "192.0.2.2" });
  const [name = ""] = files();
  assert.match(name, /^eth0-[0-9a-f]{12}\.json$/);
  assert.equal(statSync(join(directory, "leases", name)).mode & 0o777, 0o600);

  store.remove("eth0");
  assert.equal(store.load("eth0"), undefined, "before it is gone from the disk");
  await store.flush();
  assert.deepEqual(files(), []);
  store.remove("eth0");
  await store.flush();
  assert.deepEqual(faults, []);
});

test("the last of many changes wins, whatever came before", async () => {
  const store = leaseStore();
  for (let round = 0; round < 20; round++) {
    store.save("a", round);
    store.remove("b");
    if (round % 3 === 0) await new Promise(setImmediate);
    store.remove("a");
    store.save("b", round);
    if (round % 4 === 0) await new Promise(setImmediate);
  }
  await store.flush();
  assert.equal(leaseStore().load("a"), undefined);
  assert.equal(leaseStore().load("b"), 19);
  assert.equal(files().length, 1);
});

test("identities with any characters stay within the directory and apart", async () => {
  const identities = [
    "../../etc/passwd",
    "a/b",
    "a_b",
    "a\0b",
    "",
    ".",
    "é",
    "x".repeat(4000),
    "\n",
  ];
  const store = leaseStore();
  for (const identity of identities) store.save(identity, identity);
  await store.flush();
  assert.deepEqual(faults, []);
  assert.equal(files().length, identities.length);
  for (const identity of identities) assert.equal(leaseStore().load(identity), identity);
});

test("a damaged file costs its lease only, and is overwritten", async () => {
  const store = leaseStore();
  store.save("a", 1);
  store.save("b", 2);
  await store.flush();
  for (const name of files()) writeFileSync(join(directory, "leases", name), "{");
  assert.equal(leaseStore().load("a"), undefined);
  assert.match(faults.join(), /Cannot read the lease in .*a-/);

  const again = leaseStore();
  again.load("a");
  again.load("b");
  assert.equal(faults.length, 2, "one more for both");
  again.save("a", 3);
  await again.flush();
  assert.equal(leaseStore().load("a"), 3);
});

test("another identity's file and another version's are not believed, and it is said why", async () => {
  const store = leaseStore();
  store.save("a", 1);
  await store.flush();
  const [name = ""] = files();
  const path = join(directory, "leases", name);
  const rows = [
    ['{"version":1,"identity":"b","record":1}', 'it is of another link: "b"'],
    ['{"version":1,"record":1}', "it is of another link: undefined"],
    ['{"version":2,"identity":"a","record":1}', "it has version 2, not 1"],
    ['{"version":"1","identity":"a","record":1}', 'it has version "1", not 1'],
    ["3", "it has version undefined, not 1"],
    ["null", "it has version undefined, not 1"],
  ] as const;
  for (const [content, why] of rows) {
    writeFileSync(path, content);
    faults = [];
    const next = leaseStore();
    assert.equal(next.load("a"), undefined, content);
    assert.deepEqual(faults, [`Lease in ${path} is not used: ${why}`]);
    next.load("a");
    assert.equal(faults.length, 1, "once");
  }
});

test("what a killed program left is removed at the next start, and never believed", async () => {
  const store = leaseStore();
  store.save("a", 1);
  await store.flush();
  const [name = ""] = files();
  const left = join(directory, "leases", `${name}.new`);
  writeFileSync(left, "{", { mode: 0o644 });
  const next = leaseStore();
  assert.deepEqual(files(), [name]);
  assert.equal(next.load("a"), 1);

  // And one that comes later does not lend its mode to the lease.
  writeFileSync(left, "{", { mode: 0o644 });
  next.save("a", 2);
  await next.flush();
  assert.deepEqual(files(), [name]);
  assert.equal(statSync(join(directory, "leases", name)).mode & 0o777, 0o600);
  assert.equal(leaseStore().load("a"), 2);
});

test("without room for files everything goes on, and is said once per kind", async () => {
  writeFileSync(join(directory, "leases"), "");
  const store = leaseStore();
  store.save("a", 1);
  store.save("b", 1);
  await store.flush();
  store.save("a", 2);
  await store.flush();
  store.remove("a");
  await store.flush();
  assert.equal(store.load("a"), undefined);
  assert.deepEqual(
    faults.map((text) => text.split(" ", 2)[1]),
    ["save", "remove", "read"],
  );
  assert.match(store.fault ?? "", /Cannot save the lease in .*ENOTDIR|EEXIST/);

  rmSync(join(directory, "leases"));
  mkdirSync(join(directory, "leases"));
  store.save("a", 3);
  await store.flush();
  assert.equal(store.fault, undefined);
  assert.equal(leaseStore().load("a"), 3);
  assert.equal(existsSync(join(directory, "leases")), true);
});
