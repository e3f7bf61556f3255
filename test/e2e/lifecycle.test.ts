import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { EventKind, LinkState } from "@mnm/proto/network-manager";
import { until } from "../lab/index.js";
import { kernelText, ours } from "./kernel-text.js";
import { Scenario } from "./scenario.js";

describe("links come, go and change", () => {
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({ uplinks: 3 });
  });
  after(() => scenario[Symbol.asyncDispose]());

  const mark = () => scenario.log.events.length;

  /** What the kernel holds of one uplink. */
  async function heldOf(table: number, address: string): Promise<readonly string[]> {
    const all = await ours(scenario.lab.host);
    return all.filter((line) => line.includes(`${table}`) || line.includes(address));
  }

  test("a deleted link leaves nothing in the kernel; a new one of that name gets all back", async () => {
    const { lab } = scenario;
    const start = mark();
    await lab.removeLink(1);
    await scenario.log.event(EventKind.UPLINK_UNUSABLE, "wan1", start);
    await scenario.log.event(EventKind.LINK_REMOVED, "wan1", start);
    await until(async () => (await heldOf(7702, "10.1.0.100")).length === 0, {
      timeoutMs: 5000,
      what: "nothing of wan1 in the kernel",
    });

    const again = mark();
    await lab.addLink(1);
    await scenario.log.event(EventKind.LINK_ADDED, "wan1", again);
    await scenario.log.event(EventKind.UPLINK_USABLE, "wan1", again);
    assert.equal(await lab.whoami({ device: "wan1" }), 1);
    assert.equal((await scenario.link("wan1")).table, 7702, "the same table as before");
  });

  test("a link set down is withdrawn at once, and comes back when it is set up", async () => {
    const { lab } = scenario;
    const start = mark();
    await lab.host.ip("link", "set", "wan1", "down");
    const event = await scenario.log.event(EventKind.UPLINK_UNUSABLE, "wan1", start);
    assert.match(event.text, /set down/);
    await until(async () => (await heldOf(7702, "10.1.0.100")).length === 0, {
      timeoutMs: 5000,
      what: "nothing of wan1 in the kernel",
    });

    const again = mark();
    await lab.host.ip("link", "set", "wan1", "up");
    await scenario.log.event(EventKind.UPLINK_USABLE, "wan1", again);
    assert.equal(await lab.whoami({ device: "wan1" }), 1);
  });

  test("carrier lost and back within the hold-down costs nothing but the time", async () => {
    const { lab } = scenario;
    const before = await kernelText(lab.host);
    const start = mark();
    await lab.unplug(1);
    await scenario.log.event(EventKind.CARRIER_CHANGED, "wan1", start);
    assert.equal((await scenario.link("wan1")).state, LinkState.HOLDING);
    await lab.plug(1);
    await scenario.log.until("carrier back", (log) =>
      log.events
        .slice(start)
        .some(({ kind, after }) => kind === EventKind.CARRIER_CHANGED && after === "up"),
    );
    await until(async () => (await lab.whoami({ device: "wan1" })) === 1, {
      timeoutMs: 5000,
      what: "traffic through wan1",
    });
    const kinds = scenario.log.events.slice(start).map(({ kind }) => kind);
    assert.ok(!kinds.includes(EventKind.UPLINK_UNUSABLE));
    assert.deepEqual(await kernelText(lab.host), before);
  });

  test("carrier lost for longer withdraws the uplink; back, the same lease is asked for", async () => {
    const { lab } = scenario;
    const start = mark();
    await lab.unplug(1);
    const event = await scenario.log.event(EventKind.UPLINK_UNUSABLE, "wan1", start);
    assert.match(event.text, /carrier lost/);
    assert.equal(await lab.whoami(), 0, "unbound traffic goes on");
    await until(async () => (await heldOf(7702, "10.1.0.100")).length === 0, {
      timeoutMs: 5000,
      what: "nothing of wan1 in the kernel",
    });

    const again = mark();
    await lab.plug(1);
    const bound = await scenario.log.event(EventKind.LEASE_BOUND, "wan1", again);
    assert.equal(bound.after, "10.1.0.100/24");
    await scenario.log.event(EventKind.UPLINK_USABLE, "wan1", again);
    const counters = (await scenario.link("wan1")).dhcp?.counters ?? {};
    assert.ok((counters["sent-request"] ?? 0n) > 0n);
  });

  test("a renamed link keeps its table, and its rules follow the name", async () => {
    const { lab } = scenario;
    const start = mark();
    const table = (await scenario.link("wan1")).table;
    await lab.host.ip("link", "set", "wan1", "down");
    await lab.host.ip("link", "set", "wan1", "name", "wan9");
    await lab.host.ip("link", "set", "wan9", "up");
    const renamed = await scenario.log.event(EventKind.LINK_RENAMED, "wan9", start);
    assert.equal(renamed.before, "wan1");
    await scenario.log.event(EventKind.UPLINK_USABLE, "wan9", start);
    assert.equal((await scenario.link("wan9")).table, table);
    const { rules } = await kernelText(lab.host);
    assert.ok(rules.includes(`9000: from all oif wan9 lookup ${table} proto 77`));
    assert.ok(!rules.some((rule) => rule.includes("oif wan1 ")), rules.join("\n"));
    assert.equal(await lab.whoami({ device: "wan9" }), 1);
  });

  test("an address changed by the server at renewal: the new one complete, the old one gone", async () => {
    const { lab } = scenario;
    const start = mark();
    const moved = await lab.moveAddress(2);
    assert.equal((await lab.mnmctl("renew", "wan2")).code, 0);
    await scenario.log.until(`wan2 usable with ${moved}`, (log) =>
      log.events
        .slice(start)
        .some(
          ({ kind, link, after }) =>
            kind === EventKind.UPLINK_USABLE &&
            link?.name === "wan2" &&
            after.startsWith(`${moved}/`),
        ),
    );
    assert.equal(await lab.whoami({ address: moved }), 2);
    await until(async () => (await heldOf(-1, "10.2.0.100")).length === 0, {
      timeoutMs: 5000,
      what: "nothing of the old address in the kernel",
    });
  });

  test("what another program removed is put back, and the event says what", async () => {
    const { lab } = scenario;
    const before = await kernelText(lab.host);
    const start = mark();
    await lab.host.ip("rule", "del", "priority", "9500");
    await lab.host.ip("route", "flush", "table", "7701");
    await lab.host.ip("addr", "del", "10.0.0.100/24", "dev", "wan0");
    await scenario.log.event(EventKind.EXTERNAL_CHANGE, "wan0", start);
    await until(async () => JSON.stringify(await kernelText(lab.host)) === JSON.stringify(before), {
      timeoutMs: 5000,
      what: "the kernel as it was",
    });
  });

  // The audit would find it within a minute; nobody may have to wait for that.
  for (const { what, lines } of [
    { what: "an address", lines: ["addr del 10.0.0.100/24 dev wan0"] },
    { what: "a link that is set down and up", lines: ["link set wan0 down", "link set wan0 up"] },
  ]) {
    test(`routes that the kernel takes along with ${what}, without a word, are back soon`, async () => {
      const { host } = scenario.lab;
      const before = await ours(host);
      await host.ipBatch(lines);
      const isBack = async () => JSON.stringify(await ours(host)) === JSON.stringify(before);
      await until(isBack, { timeoutMs: 10_000, what: "what is ours as it was" });
    });
  }

  test("settings of a link are put back when it is no longer managed", async () => {
    const { lab } = scenario;
    const setting = "/proc/sys/net/ipv4/conf/wan0/ignore_routes_with_linkdown";
    assert.equal((await lab.host.shell(`cat ${setting}`)).trim(), "1");
    lab.launcher.writeConfig('links:\n  "wan*": {}\n  wan0: { mode: ignore }\n');
    assert.equal((await lab.mnmctl("reload")).code, 0);
    await until(async () => (await lab.host.shell(`cat ${setting}`)).trim() === "0", {
      timeoutMs: 5000,
      what: "the setting as it was found",
    });
    await until(async () => (await heldOf(7701, "10.0.0.100")).length === 0, {
      timeoutMs: 5000,
      what: "nothing of wan0 in the kernel",
    });
  });
});

test("a static link without carrier keeps its address and its fence, and no more", async () => {
  const config =
    "links:\n  wan0: {}\n  wan1: { method: static, address: 10.1.0.50/24, gateway: 10.1.0.1 }\n";
  await using scenario = await Scenario.start({ uplinks: 2, controller: { config } });
  const { lab } = scenario;
  assert.equal(await lab.whoami({ address: "10.1.0.50" }), 1);
  const start = scenario.log.events.length;
  await lab.unplug(1);
  await scenario.log.event(EventKind.UPLINK_UNUSABLE, "wan1", start);
  await until(
    async () => {
      const held = (await ours(lab.host)).filter((line) => /10\.1\.0\.50|wan1|7702/.test(line));
      return held.length === 2 ? held : undefined;
    },
    { timeoutMs: 5000, what: "address and fence only" },
  );
  const { rules, addresses } = await kernelText(lab.host);
  assert.ok(rules.includes("10500: from 10.1.0.50 unreachable proto 77"));
  assert.ok(addresses.some((line) => line.includes("10.1.0.50/24")));
});
