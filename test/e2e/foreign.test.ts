import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { EventKind, LinkState } from "@mnm/proto/network-manager";
import { until } from "../lab/index.js";
import { kernelText } from "./kernel-text.js";
import { Scenario } from "./scenario.js";

describe("beside other programs", () => {
  let scenario: Scenario;
  before(async () => {
    const config = "default: ignore\nlinks: { wan1: {} }\n";
    scenario = await Scenario.start({ uplinks: 3, usable: 1, controller: { config } });
  });
  after(() => scenario[Symbol.asyncDispose]());

  async function reload(config: string): Promise<void> {
    scenario.lab.launcher.writeConfig(config);
    const { code, stderr } = await scenario.lab.mnmctl("reload");
    assert.equal(code, 0, stderr);
  }

  test("a link that another DHCP client configured goes on working when MNM manages it", async () => {
    const { lab, log } = scenario;
    const foreign = ["addr", "add", "10.0.0.100/24", "brd", "+", "dev", "wan0"];
    await lab.host.ip(...foreign);
    await lab.host.ip("route", "add", "default", "via", "10.0.0.1", "dev", "wan0", "metric", "50");
    const start = log.events.length;
    const ping = await lab.startPing({ address: "10.0.0.100" });
    await reload("default: ignore\nlinks: { wan1: {}, wan0: {} }\n");
    await log.event(EventKind.UPLINK_USABLE, "wan0", start);
    assert.equal(await lab.whoami({ address: "10.0.0.100" }), 0);
    assert.equal(await lab.whoami({ device: "wan0" }), 0);
    assert.equal((await ping.stop()).lost, 0);
    const { warnings } = await scenario.status();
    assert.ok(
      warnings.some(({ text }) => text.includes("another program has put the same address")),
    );
    const { addresses } = await kernelText(lab.host);
    assert.ok(
      addresses.some((line) => line.includes("10.0.0.100/24") && !line.includes("noprefixroute")),
    );

    const gone = log.events.length;
    await reload("default: ignore\nlinks: { wan1: {} }\n");
    await log.event(EventKind.UPLINK_UNUSABLE, "wan0", gone);
    await until(
      async () => !(await kernelText(lab.host)).rules.some((rule) => /10\.0\.0\.|wan0/.test(rule)),
      {
        timeoutMs: 5000,
        what: "no rule of wan0",
      },
    );
    const after = await kernelText(lab.host);
    assert.ok(
      after.addresses.some((line) => line.includes("10.0.0.100/24")),
      "it is not ours to remove",
    );
    assert.ok(
      after.routes.some((line) => line.includes("default via 10.0.0.1 dev wan0 metric 50")),
    );
  });

  test("a metric that another program's default has: usable without, and put in when it goes", async () => {
    const { lab, log } = scenario;
    await lab.host.ip("route", "add", "default", "via", "10.0.0.1", "dev", "wan0", "metric", "5");
    const start = log.events.length;
    await reload("default: ignore\nlinks: { wan1: {}, wan2: { metric: 5 } }\n");
    await log.event(EventKind.UPLINK_USABLE, "wan2", start);
    assert.equal((await scenario.link("wan2")).state, LinkState.USABLE);
    const { warnings } = await scenario.status();
    assert.ok(
      warnings.some(({ link, text }) => link === "wan2" && text.includes("another program")),
    );
    assert.equal(await lab.whoami({ device: "wan2" }), 2);

    await lab.host.ip("route", "del", "default", "metric", "5");
    await until(async () => /default .* dev wan2 .* metric 5/.test(await lab.host.ip("route")), {
      timeoutMs: 2000,
      what: "the default of wan2 at metric 5",
    });
  });

  test("another match takes its table and metric at once, as after a restart", async () => {
    const { lab } = scenario;
    const { mac, table } = await scenario.link("wan2");
    await reload(
      `default: ignore\nlinks: { wan1: {}, modem: { match: { mac: "${mac}" }, metric: 31 } }\n`,
    );
    await until(async () => (await scenario.link("wan2")).metric === 31, {
      timeoutMs: 5000,
      what: "metric 31",
    });
    const link = await scenario.link("wan2");
    assert.equal(link.identity, `mac:${mac}`);
    assert.equal(link.table, table, "the table goes with the link");
    assert.equal(await lab.whoami({ device: "wan2" }), 2);
  });

  test("settings are not put back on another link that has the ifindex by now", async () => {
    const { lab } = scenario;
    const { ifindex } = await scenario.link("wan1");
    await scenario.controller.stop("SIGKILL");
    await lab.removeLink(1);
    await lab.host.ip("link", "add", "brx", "index", `${ifindex}`, "type", "bridge");
    const setting = "/proc/sys/net/ipv4/conf/brx/ignore_routes_with_linkdown";
    await lab.host.shell(`echo 1 > ${setting}`);
    scenario.controller = await lab.startController({
      config: "default: ignore\nlinks: { wan2: {} }\n",
    });
    await until(async () => (await lab.mnmctl("status")).code === 0, {
      timeoutMs: 10_000,
      what: "wan2 usable again",
    });
    assert.equal((await lab.host.shell(`cat ${setting}`)).trim(), "1");
  });
});
