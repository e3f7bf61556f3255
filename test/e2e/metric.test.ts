import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { EventKind } from "@mnm/proto/network-manager";
import { Scenario } from "./scenario.js";

describe("mnmctl set-metric", () => {
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({ uplinks: 3 });
  });
  after(() => scenario[Symbol.asyncDispose]());

  test("moves new connections and leaves an established one alone", async () => {
    const { lab } = scenario;
    const established = await lab.connect();
    assert.equal(established.isp, 0);

    const { code, stdout, stderr } = await lab.mnmctl("set-metric", "wan2", "5");
    assert.equal(code, 0, stderr);
    assert.match(stdout, /wan2: metric 1002 -> 5/);
    assert.match(stdout, /new connections use wan2 from now on; existing ones stay on wan0/);

    assert.equal(await lab.whoami(), 2);
    const fresh = await lab.connect();
    assert.equal(fresh.isp, 2);
    assert.equal(await established.echo("still there"), "still there");
    assert.equal(established.isp, 0);
    await Promise.all([established.close(), fresh.close()]);
    assert.equal((await scenario.link("wan2")).metric, 5);
    await scenario.log.event(EventKind.METRIC_CHANGED, "wan2");
    await scenario.log.until("wan2 as the default", ({ events }) =>
      events.some(({ kind, after }) => kind === EventKind.DEFAULT_CHANGED && after === "wan2"),
    );
  });

  test("refuses a taken value with the holder's name, and changes nothing", async () => {
    const before = await scenario.lab.host.ip("route");
    const { code, stderr } = await scenario.lab.mnmctl("set-metric", "wan0", "5");
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^error: metric 5 belongs to wan2; choose another, or exchange them with --swap\n$/,
    );
    assert.equal(await scenario.lab.host.ip("route"), before);
  });

  test("exchanges two with --swap", async () => {
    const { code, stderr } = await scenario.lab.mnmctl("set-metric", "wan0", "5", "--swap");
    assert.equal(code, 0, stderr);
    assert.equal((await scenario.link("wan0")).metric, 5);
    assert.equal((await scenario.link("wan2")).metric, 1000);
    assert.equal(await scenario.lab.whoami(), 0);
    const routes = await scenario.lab.host.ip("route");
    const metrics = [...routes.matchAll(/^default .*dev (\S+).* metric (\d+)/gm)].map(
      (m) => `${m[1]} ${m[2]}`,
    );
    assert.deepEqual(metrics.toSorted(), ["wan0 5", "wan1 1001", "wan2 1000"]);
  });

  test("refuses another program's metric and leaves its route alone", async () => {
    const { host } = scenario.lab;
    await host.ip("link", "add", "other0", "type", "veth", "peer", "name", "other1");
    await host.ip("addr", "add", "198.51.100.2/24", "dev", "other0");
    await host.ip("link", "set", "other0", "up");
    await host.ip("link", "set", "other1", "up");
    await host.ip(
      "route",
      "add",
      "default",
      "via",
      "198.51.100.1",
      "dev",
      "other0",
      "metric",
      "77",
    );
    const { code, stderr } = await scenario.lab.mnmctl("set-metric", "wan0", "77");
    assert.equal(code, 1);
    assert.match(stderr, /another program's default route on other0/);
    assert.match(await host.ip("route"), /default via 198\.51\.100\.1 dev other0 metric 77/);
    await host.ip("link", "del", "other0");
  });

  test("--persist survives a restart, a metric set at run time does not", async () => {
    const { lab } = scenario;
    assert.equal((await lab.mnmctl("set-metric", "wan1", "9", "--persist")).code, 0);
    assert.equal((await lab.mnmctl("set-metric", "wan2", "8")).code, 0);
    await scenario.controller.stop();
    scenario.controller = await lab.startController();
    const metrics = await untilMetric(scenario, "wan1", 9);
    assert.equal(metrics.get("wan1"), 9);
    assert.notEqual(metrics.get("wan2"), 8);
  });
});

async function untilMetric(scenario: Scenario, link: string, metric: number) {
  const { until } = await import("../lab/index.js");
  return until(
    async () => {
      const { stdout } = await scenario.lab.mnmctl("status", "--json");
      const { links } = JSON.parse(stdout) as { links: { name: string; metric: number }[] };
      const metrics = new Map(links.map((entry) => [entry.name, entry.metric]));
      return metrics.get(link) === metric ? metrics : undefined;
    },
    { timeoutMs: 10_000, what: `metric ${metric} of ${link}` },
  );
}
