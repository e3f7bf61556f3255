import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { LinkState } from "@mnm/proto/network-manager";
import { until } from "../lab/index.js";
import { kernelText } from "./kernel-text.js";
import { clientOf, Scenario, statusOf } from "./scenario.js";

describe("privileges and restarts", () => {
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({ uplinks: 3 });
  });
  after(() => scenario[Symbol.asyncDispose]());

  test("the controller has no capability, the helper exactly two, both another user", () => {
    const none = { effective: [], permitted: [], inheritable: [], bounding: [], ambient: [] };
    const controller = scenario.controller.credentials();
    assert.deepEqual({ ...controller, ...none }, controller);
    const two = ["net_admin", "net_raw"];
    const helper = scenario.helper.credentials();
    const sets = { effective: two, permitted: two, bounding: two };
    assert.deepEqual({ ...helper, ...sets }, helper);
    assert.notEqual(controller.uid, helper.uid);
    assert.ok(controller.uid > 0 && helper.uid > 0);
    assert.ok(controller.noNewPrivileges && helper.noNewPrivileges);
  });

  /** Watches the host's routes, rules and addresses while `disturb` runs; answers what was deleted. */
  async function whileWatching(disturb: () => Promise<void>) {
    const { lab } = scenario;
    const before = await kernelText(lab.host);
    const monitor = lab.host.start("ip-monitor", [
      "ip",
      "-4",
      "monitor",
      "address",
      "route",
      "rule",
    ]);
    const ping = await lab.startPing({ address: "10.1.0.100" });
    await disturb();
    const count = await ping.stop();
    // A change of our own that must show: the monitor was listening all the time.
    await lab.host.ip("route", "add", "198.51.100.0/24", "dev", "wan0", "proto", "static");
    await monitor.waitForLog(/198\.51\.100\.0/);
    await lab.host.ip("route", "del", "198.51.100.0/24", "dev", "wan0");
    await monitor.stop();
    const deleted = monitor
      .log()
      .split("\n")
      .filter((line) => /^Deleted/.test(line) && !line.includes("198.51.100"));
    assert.deepEqual(await kernelText(lab.host), before);
    return { count, deleted };
  }

  /** A new client: the old one's connection died with the controller. */
  async function settled(): Promise<void> {
    await until(
      async () => {
        const client = clientOf(scenario.lab);
        try {
          const { links, helper } = await statusOf(client);
          const usable = links.filter(({ state }) => state === LinkState.USABLE);
          return usable.length === 3 && helper?.text === "";
        } catch {
          return false;
        } finally {
          client.close();
        }
      },
      { timeoutMs: 20_000, what: "three usable uplinks after a restart" },
    );
  }

  for (const [name, kill] of [
    [
      "controller",
      async () => {
        await scenario.controller.stop("SIGKILL");
        scenario.controller = await scenario.lab.startController();
        await settled();
      },
    ],
    [
      "helper",
      async () => {
        await scenario.helper.stop("SIGKILL");
        scenario.helper = await scenario.lab.startHelper();
        await settled();
      },
    ],
    [
      "controller and helper",
      async () => {
        await Promise.all([scenario.controller.stop("SIGKILL"), scenario.helper.stop("SIGKILL")]);
        [scenario.helper, scenario.controller] = await Promise.all([
          scenario.lab.startHelper(),
          scenario.lab.startController(),
        ]);
        await settled();
      },
    ],
  ] as const) {
    test(`killing the ${name} and starting again loses no ping and deletes nothing`, async () => {
      const { count, deleted } = await whileWatching(kill);
      assert.ok(count.sent >= 10, `${count.sent} pings`);
      assert.equal(count.lost, 0);
      assert.deepEqual(deleted, []);
    });
  }

  test("after a restart without any remembered lease, nothing is deleted either", async () => {
    const { lab } = scenario;
    const { count, deleted } = await whileWatching(async () => {
      await scenario.controller.stop("SIGKILL");
      await lab.host.shell(`rm -rf ${lab.launcher.stateDirectory}/leases`);
      scenario.controller = await lab.startController();
      await settled();
    });
    assert.equal(count.lost, 0);
    assert.deepEqual(deleted, []);
  });

  test("a link unplugged while both were dead leaves nothing behind after the next start", async () => {
    const { lab } = scenario;
    await Promise.all([scenario.controller.stop("SIGKILL"), scenario.helper.stop("SIGKILL")]);
    await lab.removeLink(2);
    [scenario.helper, scenario.controller] = await Promise.all([
      lab.startHelper(),
      lab.startController(),
    ]);
    await until(
      async () => {
        const { rules } = await kernelText(lab.host);
        return (
          !rules.some((rule) => /wan2|7703|10\.2\.0\.100/.test(rule)) &&
          rules.some((rule) => rule.includes("7702"))
        );
      },
      { timeoutMs: 10_000, what: "no rule of wan2" },
    );
  });
});
