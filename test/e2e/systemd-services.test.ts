import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { LinkState } from "@mnm/proto/network-manager";
import { REPOSITORY } from "../lab/identity.js";
import { BareService } from "./bare-service.js";
import { CONFIG, CONTROLLER, HELPER, InstalledHost, isHelperOk, WAIT_ONLINE } from "./installed.js";
import { percentile } from "./times.js";

/** A killed service is back by then; */
const BACK_WITHIN_MS = 500;
/** or, where other work keeps this machine from it, after so many times what a service that does nothing needs. */
const MOST_TIMES_BARE = 3;
const KILLS = 9;

/** As in /proc/PID/status. The two are CAP_NET_ADMIN and CAP_NET_RAW. */
const NO_CAPABILITY = "0000000000000000";
const TWO_CAPABILITIES = "0000000000003000";

describe("the services, run by systemd", () => {
  let host: InstalledHost;
  before(async () => {
    host = await InstalledHost.start({ uplinks: 2 });
  });
  after(() => host[Symbol.asyncDispose]());

  function assertQuick(times: readonly number[], bare: readonly number[], t: TestContext) {
    const shown = (sample: readonly number[]) => sample.map((ms) => ms.toFixed(0)).join(" ");
    const text = `ms: ${shown(times)}; a bare service: ${shown(bare)}`;
    t.diagnostic(`from kill to answer, ${text}`);
    const most = Math.max(BACK_WITHIN_MS, MOST_TIMES_BARE * percentile(bare, 50));
    assert.ok(percentile(times, 50) <= most, text);
  }

  /** Waits until a service runs with another process than `pid`; gives that process and how. */
  async function replaced(unit: string, pid: string | undefined) {
    const properties = ["ActiveState", "SubState", "MainPID", "NRestarts", "Result"];
    return await host.system.until(
      unit,
      "a new process",
      ({ SubState, MainPID }) => SubState === "running" && MainPID !== "0" && MainPID !== pid,
      properties,
    );
  }

  test("both run with the privileges that were promised, and no more", async () => {
    const promised = { [CONTROLLER]: NO_CAPABILITY, [HELPER]: TWO_CAPABILITIES };
    const users = new Set<string>();
    for (const [unit, capabilities] of Object.entries(promised)) {
      const status = await host.system.processStatus(unit);
      for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
        assert.equal(status.get(set), capabilities, `${unit} ${set}`);
      }
      assert.equal(status.get("NoNewPrivs"), "1", unit);
      // SECCOMP_MODE_FILTER
      assert.equal(status.get("Seccomp"), "2", unit);
      const [uid = "", ...others] = (status.get("Uid") ?? "").split("\t");
      assert.ok(uid !== "0" && others.every((other) => other === uid), `${unit} ${uid}`);
      assert.equal(status.get("Groups"), status.get("Gid")?.split("\t")[0], unit);
      users.add(uid);
    }
    assert.equal(users.size, 2, "two users");
  });

  test("what they see of the machine is read-only, and without devices", async () => {
    for (const unit of [CONTROLLER, HELPER]) {
      const { MainPID } = await host.system.show(unit, "MainPID");
      const inside = `/proc/${MainPID}`;
      const mounts = readFileSync(host.system.path(`${inside}/mountinfo`), "utf8");
      const optionsOf = (place: string) =>
        mounts
          .split("\n")
          .map((line) => line.split(" "))
          .findLast((fields) => fields[4] === place)?.[5]
          ?.split(",") ?? [];
      assert.ok(optionsOf("/").includes("ro"), unit);
      // The controller reads the boot's id there; for the helper there is nothing.
      const settings = host.system.path(`${inside}/root/proc/sys`);
      assert.equal(optionsOf("/proc/sys").includes("ro"), unit === CONTROLLER, unit);
      assert.equal(existsSync(settings), unit === CONTROLLER, unit);
      // Where it may read it may not run anything, but for Node.
      assert.equal(optionsOf("/").includes("noexec"), unit === HELPER, unit);
      assert.equal(optionsOf("/usr/bin/node").includes("noexec"), false, unit);
      const devices = readdirSync(host.system.path(`${inside}/root/dev`));
      assert.deepEqual(
        devices.filter((name) => /^(mem|kmsg|kvm|net|rtc|sd|vd|console|fuse)/.test(name)),
        [],
      );
      assert.ok(devices.includes("urandom"));
    }
  });

  test("nothing in their environment tells Node what to do", async () => {
    await host.system.shell("systemctl set-environment NODE_OPTIONS=--expose-gc LD_AUDIT=/x.so");
    await host.system.shell(`systemctl restart ${CONTROLLER} ${HELPER}`);
    for (const unit of [CONTROLLER, HELPER]) {
      const { MainPID } = await host.system.show(unit, "MainPID");
      const environment = readFileSync(host.system.path(`/proc/${MainPID}/environ`), "utf8");
      assert.match(environment, /(^|\0)PATH=/);
      assert.doesNotMatch(environment, /NODE_OPTIONS|LD_AUDIT/);
    }
    await host.system.shell("systemctl unset-environment NODE_OPTIONS LD_AUDIT");
    await host.online();
  });

  test("their uplinks work, and systemctl status says so", async () => {
    for (const { index, numbers } of host.lab.isps) {
      assert.equal(await host.lab.whoami({ address: numbers.address }), index);
      assert.equal(await host.lab.whoami({ device: host.lab.linkName(index) }), index);
    }
    const { StatusText } = await host.system.until(
      CONTROLLER,
      "a line on how it is",
      ({ StatusText }) => StatusText === "2 of 2 uplinks usable, default wan0",
      ["StatusText"],
    );
    assert.ok(StatusText);
  });

  test("systemctl reload says whether the file was taken", async () => {
    await host.configure("links: 5\n");
    const refused = await host.system.exec("systemctl", "reload", CONTROLLER);
    assert.equal(refused.code, 1);
    assert.match(await host.system.journal(CONTROLLER), /mnm\.yaml:1:1: links has to be/);
    assert.ok(await host.system.isActive(CONTROLLER));
    await host.configure(CONFIG);
    await host.system.shell(`systemctl reload ${CONTROLLER}`);
  });

  test(`a helper that is killed is back within ${BACK_WITHIN_MS} ms, however often`, async (t) => {
    const socket = () => statSync(host.system.path("/run/mnm-helper/helper.sock")).ino;
    const before = socket();
    const bare = await BareService.start(host);
    const times: number[] = [];
    const bareTimes: number[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      const killed = await host.signal(HELPER, "KILL");
      await host.when("the helper missed", (status) => !isHelperOk(status));
      times.push((await host.when("the helper back", isHelperOk)) - killed);
      assert.equal(socket(), before, "systemd keeps listening");
      bareTimes.push(await bare.kill());
    }
    assertQuick(times, bareTimes, t);
    await host.online();
  });

  test("a controller that crashes always comes back, and quickly", async (t) => {
    const instances = new Set<string>();
    const bare = await BareService.start(host);
    const times: number[] = [];
    const bareTimes: number[] = [];
    for (let crash = 0; crash < KILLS; crash++) {
      const { MainPID } = await host.system.show(CONTROLLER, "MainPID");
      const old = (await host.status())?.instance;
      const crashed = await host.signal(CONTROLLER, crash % 2 === 0 ? "KILL" : "SEGV");
      const isNew = (instance = old) => instance !== old;
      times.push((await host.when("a new controller", (s) => isNew(s?.instance))) - crashed);
      await replaced(CONTROLLER, MainPID);
      instances.add((await host.status())?.instance ?? "");
      bareTimes.push(await bare.kill());
    }
    assert.equal(instances.size, KILLS);
    assertQuick(times, bareTimes, t);
    await host.online();
  });

  describe("with a watchdog of two seconds", () => {
    const dropin = (unit: string) => `/run/systemd/system/${unit}.d/watchdog.conf`;
    before(async () => {
      for (const unit of [CONTROLLER, HELPER]) {
        await host.system.shell(`mkdir -p /run/systemd/system/${unit}.d`);
        writeFileSync(host.system.path(dropin(unit)), "[Service]\nWatchdogSec=2s\n");
      }
      await host.system.shell(`systemctl daemon-reload; systemctl restart ${HELPER} ${CONTROLLER}`);
      await host.online();
    });
    after(async () => {
      for (const unit of [CONTROLLER, HELPER]) rmSync(host.system.path(dropin(unit)));
      await host.system.shell(`systemctl daemon-reload; systemctl restart ${HELPER} ${CONTROLLER}`);
      await host.online();
    });

    for (const unit of [CONTROLLER, HELPER]) {
      test(`${unit} feeds it, and is left alone`, async () => {
        const { MainPID } = await host.system.show(unit, "MainPID");
        const seen = new Set<string>();
        const count = ({ WatchdogTimestampMonotonic = "" }) =>
          seen.add(WatchdogTimestampMonotonic).size > 4;
        await host.system.until(unit, "four feedings", count, ["WatchdogTimestampMonotonic"]);
        assert.equal((await host.system.show(unit, "MainPID"))["MainPID"], MainPID);
      });

      test(`${unit} is started anew when its event loop stands still`, async () => {
        const { MainPID, NRestarts } = await host.system.show(unit, "MainPID", "NRestarts");
        await host.signal(unit, "STOP");
        const now = await replaced(unit, MainPID);
        assert.equal(Number(now["NRestarts"]), Number(NRestarts) + 1);
        // The sentence is systemd's own, and not of the service.
        const log = await host.system.shell("journalctl --no-pager -o cat -t systemd");
        assert.match(log, new RegExp(`${unit}: Watchdog timeout`));
        await host.online();
        await host.when("the helper back", isHelperOk);
      });
    }

    test("a controller that nobody can reach is started anew", async () => {
      const socket = host.system.path("/run/mnm/controller.sock");
      const { MainPID } = await host.system.show(CONTROLLER, "MainPID");
      rmSync(socket);
      await replaced(CONTROLLER, MainPID);
      assert.match(await host.system.journal(CONTROLLER), /Nobody can reach us at/);
      await host.online();
    });
  });

  test("network-online.target waits for an uplink", async () => {
    await host.system.shell(`systemctl stop ${CONTROLLER} network-online.target`);
    for (const { index } of host.lab.isps) await host.lab.unplug(index);
    await host.system.shell(`systemctl start ${CONTROLLER}`);
    await host.system.shell(`systemctl enable ${WAIT_ONLINE}`);
    await host.system.shell("systemctl start --no-block network-online.target");
    const isWaiting = ({ ActiveState = "" }) => ActiveState === "activating";
    await host.system.until(WAIT_ONLINE, "its start", isWaiting, ["ActiveState"]);
    await host.when("no uplink", (s) => s?.links.every(isUnusable) === true);
    assert.equal(await host.system.isActive("network-online.target"), false);
    await host.lab.plug(1);
    const isActive = ({ ActiveState = "" }) => ActiveState === "active";
    await host.system.until("network-online.target", "its release", isActive, ["ActiveState"]);
    assert.ok((await host.status())?.links.some((link) => !isUnusable(link)));
    assert.match(await host.system.journal(WAIT_ONLINE), /online: wan1/);
    await host.lab.plug(0);
    await host.online();
  });

  test("a configuration that is refused at the start ends with 78, and is not tried again", async () => {
    await host.configure("links:\n  wan0: { metric: none }\n");
    await host.system.shell(`systemctl stop ${CONTROLLER} network-online.target`);
    const started = await host.system.exec("systemctl", "start", CONTROLLER);
    assert.equal(started.code, 1);
    const failed = await host.system.show(
      CONTROLLER,
      ...["ActiveState", "SubState", "ExecMainStatus", "NRestarts", "StatusText"],
    );
    const { StatusText = "", ...state } = failed;
    assert.deepEqual(state, {
      ActiveState: "failed",
      SubState: "failed",
      ExecMainStatus: "78",
      NRestarts: "0",
    });
    assert.match(StatusText, /^\/etc\/mnm\/mnm\.yaml:2:\d+: /);
    // Nobody waits two minutes at boot for what cannot come.
    await host.system.shell("systemctl start network-online.target");
    assert.equal(await host.system.isActive(WAIT_ONLINE), false);
    await host.system.shell("systemctl stop network-online.target");
    await host.configure(CONFIG);
    await host.system.shell(`systemctl start ${CONTROLLER}`);
    await host.online();
  });

  test("a helper.json that is refused ends the helper with 78; once mended, one command brings it back", async () => {
    const file = host.system.path("/etc/mnm/helper.json");
    await host.system.shell(`systemctl restart ${HELPER}`);
    writeFileSync(file, '{ "links": 5 }\n', { mode: 0o644 });
    await host.signal(HELPER, "KILL");
    const isRefused = ({ ActiveState = "" }) => ActiveState === "active";
    await host.system.until("mnm-helper-refused.target", "it", isRefused, ["ActiveState"]);
    // The controller asks for it again and again: nobody listens, and so nothing is started.
    const { ActiveState } = await host.system.show("mnm-helper.socket", "ActiveState");
    assert.equal(ActiveState, "inactive");
    const nobody = (text = "") => /no socket at|nobody listens/.test(text);
    await host.when("word of it in the status", (status) => nobody(status?.helper?.text));
    const failed = await host.system.show(HELPER, "ActiveState", "ExecMainStatus", "NRestarts");
    // One: that after the kill.
    assert.deepEqual(failed, { ActiveState: "failed", ExecMainStatus: "78", NRestarts: "1" });
    rmSync(file);
    await host.system.shell("systemctl restart mnm-helper.socket");
    await host.when("the helper back", isHelperOk);
    await host.online();
  });

  test("both run without it, by the commands of docs/operations.md", async () => {
    const text = readFileSync(join(REPOSITORY, "docs/operations.md"), "utf8");
    const section = text.slice(text.indexOf("\n## Without systemd"));
    const scripts = [...section.matchAll(/^```sh\n(#![^`]+)```$/gm)].map(
      ([, script = ""]) => script,
    );
    assert.equal(scripts.length, 2);
    await host.system.shell(`systemctl stop ${CONTROLLER} ${HELPER} mnm-helper.socket`);
    assert.equal(await host.status(), undefined);
    const outcomes = scripts.map((script) => host.system.exec("sh", "-euc", script));
    await host.online();
    await host.when("the helper", isHelperOk);
    const users = { mnm: NO_CAPABILITY, "mnm-helper": TWO_CAPABILITIES };
    for (const [user, capabilities] of Object.entries(users)) {
      const [pid = ""] = (await host.system.shell(`pgrep -u ${user}`)).split("\n");
      const status = readFileSync(host.system.path(`/proc/${pid}/status`), "utf8");
      for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
        assert.match(status, new RegExp(`^${set}:\\t${capabilities}$`, "m"), user);
      }
      assert.match(status, /^NoNewPrivs:\t1$/m);
      await host.system.shell(`kill ${pid}`);
    }
    const ends = await Promise.all(outcomes);
    assert.deepEqual(
      ends.map(({ code }) => code),
      [0, 0],
    );
    await host.system.shell(`systemctl start ${CONTROLLER}`);
    await host.online();
  });

  test("a restart of both loses no packet", async () => {
    const ping = await host.lab.startPing({ address: host.lab.isps[1]?.numbers.address ?? "" });
    await host.system.shell(`systemctl restart ${CONTROLLER} mnm-helper.socket ${HELPER}`);
    await host.online();
    await host.when("the helper back", isHelperOk);
    const { lost, sent } = await ping.stop();
    assert.ok(sent > 0);
    assert.equal(lost, 0);
  });
});

function isUnusable({ state }: { readonly state: LinkState }): boolean {
  return state !== LinkState.USABLE;
}
