import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { Status } from "@mnm/proto/network-manager";
import { Lab } from "../lab/index.js";
import type { Program } from "../lab/program.js";
import { restarted, statusWhen, usableStatus } from "./restarts.js";

describe("a state directory that fails costs the memory, never the service", () => {
  let lab: Lab;
  let controller: Program;
  before(async () => {
    lab = await Lab.create({ uplinks: 2 });
    await lab.startHelper();
    controller = await lab.startController();
    await usableStatus(lab);
  });
  after(() => lab?.close());

  /**
   * The controller with `script` run before it, as root, in a mount namespace of its own: `ip netns
   * exec` makes one, and what is mounted there is gone with the program. `$1` is the state directory.
   */
  const restartWith = (script: string) =>
    restarted(lab, controller, {
      runBy: ["sh", "-euc", `${script}\nshift\nexec "$@"`, "sh", lab.launcher.stateDirectory],
    });

  /** The state directory as the running controller sees it. */
  const seen = () => `/proc/${controller.pid}/root${lab.launcher.stateDirectory}`;

  const warnings = (pattern: RegExp) =>
    controller
      .log()
      .split("\n")
      .filter((line) => line.includes('"level":40') && pattern.test(line)).length;

  const warned = ({ warnings: all }: Status, pattern: RegExp) =>
    all.some(({ text }) => pattern.test(text));

  /** Every lease once: a request more has been sent, and its answer leads back to bound. */
  async function renewAll(): Promise<void> {
    const before = requests(await usableStatus(lab));
    for (const { index } of lab.isps) {
      assert.equal((await lab.mnmctl("renew", lab.linkName(index))).code, 0);
    }
    const isRenewed = (status: Status) =>
      requests(status).every((count, index) => count > (before[index] ?? 0n)) &&
      ours(status).every(({ dhcp }) => dhcp?.state === "bound");
    await statusWhen(lab, isRenewed, "renewed leases");
  }

  const ours = ({ links }: Status) => links.filter(({ name }) => name.startsWith("wan"));
  const requests = (status: Status) =>
    ours(status).map(({ dhcp }) => dhcp?.counters["sent-request"] ?? 0n);

  test("a good one holds a file for each lease, for its owner alone", () => {
    const directory = `${lab.launcher.stateDirectory}/leases`;
    const files = readdirSync(directory);
    assert.equal(files.length, 2);
    for (const file of files) {
      const { mode, uid } = statSync(`${directory}/${file}`);
      assert.equal(mode & 0o777, 0o600);
      assert.equal(uid, lab.launcher.identities.controllerUid);
    }
    assert.equal(warnings(/./), 0);
  });

  test("disk full: leases are acquired, renewed, and acquired again after a restart", async () => {
    const full = `
      owner=$(stat -c %u:%g "$1")
      mount -t tmpfs -o size=32k,mode=755 tmpfs "$1"
      chown "$owner" "$1"
      dd if=/dev/zero of="$1/filling" bs=1k 2>/dev/null || true`;
    for (const time of ["first", "second"]) {
      controller = await restartWith(full);
      const status = await usableStatus(lab);
      assert.deepEqual(
        status.links.map(({ lease }) => lease?.address).filter((address) => address),
        ["10.0.0.100/24", "10.1.0.100/24"],
      );
      await renewAll();
      assert.equal(await lab.whoami({ device: "wan1" }), 1, time);
      assert.ok(warned(await usableStatus(lab), /Cannot save the lease in .*ENOSPC/));
      // Each lease was to be saved twice, and the state at least once.
      assert.equal(warnings(/Cannot save the lease in .*ENOSPC/), 1);
      assert.equal(warnings(/Cannot write .*state\.json: ENOSPC/), 1);
      assert.deepEqual(readdirSync(`${seen()}/leases`), [], "no half files");
    }
  });

  test("room again: what is renewed is saved, and the warning goes", async () => {
    rmSync(`${seen()}/filling`);
    await renewAll();
    await statusWhen(lab, (status) => !warned(status, /Cannot save/), "no warning");
    assert.equal(readdirSync(`${seen()}/leases`).length, 2);
  });

  test("read-only: the lease that is there is used, renewed, and used again", async () => {
    const readOnly = 'mount --bind "$1" "$1"\nmount -o remount,bind,ro "$1"';
    for (const time of ["first", "second"]) {
      controller = await restartWith(readOnly);
      const { links } = await usableStatus(lab);
      const sent = links.map(({ dhcp }) => dhcp?.counters["sent-discover"] ?? 0n);
      assert.ok(
        sent.every((count) => count === 0n),
        `the ${time} time, no DISCOVER`,
      );
      await renewAll();
      assert.equal(await lab.whoami({ device: "wan0" }), 0);
      assert.equal(warnings(/Cannot save the lease in .*EROFS/), 1);
      assert.ok(warned(await usableStatus(lab), /Cannot save the lease in .*EROFS/));
    }
  });

  test("one that is missing and cannot be made, and one that is another's", async (context) => {
    if (!lab.launcher.identities.separate) return context.skip("NOT RUN: all is one user here");
    mkdirSync(`${lab.directory}/others`, { mode: 0o700 });
    for (const place of ["missing/state", "others"]) {
      const args = ["--state-dir", `${lab.directory}/${place}`];
      controller = await restarted(lab, controller, { args });
      await usableStatus(lab);
      await renewAll();
      assert.equal(warnings(/Cannot save the lease in .*EACCES/), 1, place);
      assert.ok(warnings(/EACCES/) <= 4, controller.log());
    }
  });

  test("the programs are well all the same", async () => {
    controller = await restarted(lab, controller);
    assert.deepEqual((await usableStatus(lab)).warnings, []);
    assert.equal(warnings(/./), 0);
  });
});

/** What becomes of a lease file: its text from the text that it had. */
const DAMAGE: Readonly<Record<string, (text: string) => string>> = {
  "is empty": () => "",
  "was cut short": (text) => text.slice(0, 150),
  "is no JSON": () => "\0\0\0\0",
  "nests without end": () => "[".repeat(60_000),
  "is huge": () => " ".repeat(1_000_000),
  "is of a later version": (text) => text.replace('"version":1', '"version":2'),
  "names another link": (text) => text.replace(/"identity":"[^"]*"/, '"identity":"name:lo"'),
  "has an address of the host itself": (text) => text.replace(/10\.\d\.0\.100/, "127.0.0.1"),
  "has a prefix of /33": (text) => text.replace('"prefixLength":24', '"prefixLength":33'),
  "has half a second": (text) => text.replace(/"leaseSec":\d+/, '"leaseSec":3600.5'),
  "was acquired in the future": (text) => text.replace(/"acquiredBootMs":/, "$&99999"),
  "was acquired long ago": (text) => text.replace(/"acquiredBootMs":\d+/, '"acquiredBootMs":-9e9'),
};

test("damaged lease files, one of each kind, and a damaged state file", async () => {
  const kinds = Object.values(DAMAGE);
  await using lab = await Lab.create({ uplinks: kinds.length });
  await lab.startHelper();
  const first = await lab.startController();
  const before = await usableStatus(lab);
  await first.stop();

  const directory = `${lab.launcher.stateDirectory}/leases`;
  const files = readdirSync(directory).toSorted();
  assert.equal(files.length, kinds.length);
  for (const [index, damage] of kinds.entries()) {
    const path = `${directory}/${files[index]}`;
    const text = readFileSync(path, "utf8");
    assert.notEqual(damage(text), text);
    writeFileSync(path, damage(text));
  }
  writeFileSync(`${directory}/${files[0]}.new`, "left by a crash");
  writeFileSync(`${lab.launcher.stateDirectory}/state.json`, '{"version":1,"identities":{"');

  const second = await lab.startController();
  const status = await usableStatus(lab);
  const addresses = ({ links }: Status) => links.map(({ lease }) => lease?.address);
  assert.deepEqual(addresses(status), addresses(before));
  assert.deepEqual(status.warnings, []);
  assert.match(second.log(), /state\.json is damaged and was moved to/);
  await second.stop();
  for (const file of files) JSON.parse(readFileSync(`${directory}/${file}`, "utf8"));
  assert.deepEqual(readdirSync(directory).toSorted(), files, "good ones in their places again");
});
