import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { Link, Status } from "@mnm/proto/network-manager";
import { Lab, type StartOptions, until } from "../lab/index.js";
import type { Program } from "../lab/program.js";
import { restarted, statusWhen, usableStatus } from "./restarts.js";

const LIBRARY = readdirSync("/usr/lib")
  .map((name) => `/usr/lib/${name}/faketime/libfaketime.so.1`)
  .find((path) => existsSync(path));
const skip = LIBRARY === undefined ? "NOT RUN: there is no libfaketime" : false;

/** Node with a wall clock that is wrong; the clocks that count since boot are right. */
function withWallClock(offset: string): StartOptions {
  return withFakeTime(`FAKETIME=${offset}`);
}

function withFakeTime(...settings: readonly string[]): StartOptions {
  const fake = [`LD_PRELOAD=${LIBRARY}`, "FAKETIME_DONT_FAKE_MONOTONIC=1", ...settings];
  // libfaketime itself calls link(2).
  return { nodeRunBy: ["env", ...fake], confined: false };
}

const YEARS = ["+365d", "-365d"] as const;
const DAY_MS = 86_400_000;

function onlyLink({ links }: Status): Link {
  const link = links.find(({ name }) => name === "wan0");
  assert.ok(link !== undefined);
  return link;
}

const sent = ({ dhcp }: Link, message: string) => Number(dhcp?.counters[`sent-${message}`] ?? 0n);

/** By how many days the controller's wall clock is off, by the last line of its log. */
function daysOff(controller: Program): number {
  const { time }: { time: number } = JSON.parse(controller.log().trim().split("\n").at(-1) ?? "");
  return Math.round((time - Date.now()) / DAY_MS);
}

describe("a wall clock that is a year off", { skip }, () => {
  let lab: Lab;
  let controller: Program;
  before(async () => {
    lab = await Lab.create({ uplinks: 1, leaseSec: 3600 });
    await lab.startHelper();
    controller = await lab.startController();
    await usableStatus(lab);
  });
  after(() => lab?.close());

  for (const year of YEARS) {
    test(`${year} since the last run, in the same boot: the lease goes on, without a packet`, async () => {
      const before = onlyLink(await usableStatus(lab));
      controller = await restarted(lab, controller, withWallClock(year));
      const now = onlyLink(await usableStatus(lab));
      assert.equal(daysOff(controller), Number.parseInt(year, 10));
      assert.equal(now.lease?.address, before.lease?.address);
      const [left = 0, had = 0] = [now.lease?.expiresInSec, before.lease?.expiresInSec];
      assert.ok(left <= had && left > had - 60, `${left} s left of ${had} s`);
      assert.equal(sent(now, "discover") + sent(now, "request"), 0);
      // And what it saves now is right for the next run.
      assert.equal((await lab.mnmctl("renew", "wan0")).code, 0);
      await statusWhen(lab, (status) => sent(onlyLink(status), "request") === 1, "a renewal");
      await usableStatus(lab);
    });
  }

  test("a year forth and two back while it runs: nothing happens, and a renewal is one", async () => {
    const clock = `${lab.directory}/clock`;
    writeFileSync(clock, "+0d");
    const options = withFakeTime(`FAKETIME_TIMESTAMP_FILE=${clock}`, "FAKETIME_NO_CACHE=1");
    controller = await restarted(lab, controller, options);
    const before = onlyLink(await usableStatus(lab));
    for (const [turn, year] of YEARS.entries()) {
      writeFileSync(clock, year);
      const had = onlyLink(await usableStatus(lab)).lease?.expiresInSec ?? 0;
      assert.ok(had > 3500 && had <= 3600, `${had} s left`);
      assert.equal((await lab.mnmctl("renew", "wan0")).code, 0);
      const renewed = (status: Status) => sent(onlyLink(status), "request") === turn + 1;
      const link = onlyLink(await statusWhen(lab, renewed, "a renewal"));
      assert.equal(link.lease?.address, before.lease?.address);
      assert.equal(sent(link, "discover"), 0);
      // A line of the log, to look at its time.
      assert.equal((await lab.mnmctl("reload")).code, 0);
      await until(() => daysOff(controller) === Number.parseInt(year, 10), {
        timeoutMs: 10_000,
        what: `a clock of ${year}`,
      });
    }
  });

  /** As after a boot: another boot id in the file, and no address on the link. */
  async function bootedWith(year: string): Promise<Link> {
    await controller.stop();
    const directory = `${lab.launcher.stateDirectory}/leases`;
    const [name = ""] = readdirSync(directory);
    const file = `${directory}/${name}`;
    const text = readFileSync(file, "utf8").replace(/"bootId":"[^"]*"/, '"bootId":"another"');
    // Saved by a clock that was right, whatever the clock of the last run was.
    const wallMs = `"acquiredWallMs":${Date.now() - 5000}`;
    writeFileSync(file, text.replace(/"acquiredWallMs":\d+/, wallMs));
    await lab.host.ip("addr", "flush", "dev", "wan0");
    controller = await lab.startController(withWallClock(year));
    return onlyLink(await usableStatus(lab));
  }

  test("-1 year after a boot: the lease gets the benefit of the doubt, and the server is asked", async () => {
    const link = await bootedWith("-365d");
    assert.equal(link.lease?.address, "10.0.0.100/24");
    assert.deepEqual([sent(link, "discover"), sent(link, "request")], [0, 1]);
  });

  test("+1 year after a boot: the lease counts as over, and a new one is asked for", async () => {
    const link = await bootedWith("+365d");
    assert.equal(link.lease?.address, "10.0.0.100/24");
    assert.deepEqual([sent(link, "discover"), sent(link, "request")], [1, 1]);
  });
});

test("a lease that ended while nobody ran is not used, whatever the wall clock says", {
  skip,
}, async () => {
  await using lab = await Lab.create({ uplinks: 1, leaseSec: 12 });
  await lab.startHelper();
  const first = await lab.startController();
  await usableStatus(lab);
  await first.stop();
  await lab.isps[0]?.dhcp.stop();
  // The kernel ends the address by its own clock.
  const hasAddress = async () => (await lab.host.ip("addr", "show", "wan0")).includes("10.0.0.100");
  await until(async () => !(await hasAddress()), { timeoutMs: 30_000, what: "the end" });

  let controller = first;
  for (const year of YEARS) {
    controller = await restarted(lab, controller, withWallClock(year));
    const asks = (status: Status) => sent(onlyLink(status), "discover") > 0;
    const link = onlyLink(await statusWhen(lab, asks, "a DISCOVER"));
    assert.equal(link.lease, undefined);
    assert.equal(sent(link, "request"), 0);
    assert.equal(await hasAddress(), false);
  }
});
