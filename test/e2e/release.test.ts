import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { EventKind, LinkState, Reason } from "@mnm/proto/network-manager";
import { until } from "../lab/index.js";
import { kernelText, ours } from "./kernel-text.js";
import { Scenario } from "./scenario.js";

/** dnsmasq's line, or that of the lab's own server. */
const RELEASED = /DHCPRELEASE\(lan\) 10\.0\.0\.100|^RELEASE: no answer/gm;
const UNDOING = "mnmctl reconnect wan0 brings it back";

describe("an operator gives a lease back", () => {
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({ uplinks: 2 });
  });
  after(() => scenario[Symbol.asyncDispose]());

  const mark = () => scenario.log.events.length;
  const mnmctl = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await scenario.lab.mnmctl(...args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const releasesSeen = () =>
    [...(scenario.lab.isps[0]?.dhcp.log() ?? "").matchAll(RELEASED)].length;
  const heldOfWan0 = async () =>
    (await ours(scenario.lab.host)).filter((line) => /wan0|\b7701\b|10\.0\.0\./.test(line));
  const stateOf = async () => (await scenario.link("wan0")).state;

  /** For longer than the hold-down, and until a link that is not released is usable again. */
  async function flap(): Promise<void> {
    const { lab, log } = scenario;
    const start = mark();
    await lab.unplug(0);
    await lab.unplug(1);
    await log.event(EventKind.CARRIER_CHANGED, "wan0", start);
    await log.event(EventKind.UPLINK_UNUSABLE, "wan1", start);
    await lab.plug(0);
    await lab.plug(1);
    await log.event(EventKind.UPLINK_USABLE, "wan1", start);
  }

  test("release: the server hears it, and when mnmctl returns the kernel is clean", async () => {
    const { lab, log } = scenario;
    const start = mark();
    const before = (await kernelText(lab.host)).rules.filter((rule) => rule.includes("7702"));
    assert.equal(
      await mnmctl("release", "wan0"),
      `wan0: gave 10.0.0.100/24 back to 10.0.0.1\nit stays released; ${UNDOING}\n`,
    );
    assert.deepEqual(await heldOfWan0(), []);
    await scenario.lab.isps[0]?.dhcp.ready(() => releasesSeen() === 1, "a DHCPRELEASE");
    const after = (await kernelText(lab.host)).rules.filter((rule) => rule.includes("7702"));
    assert.deepEqual(after, before, "the other uplink is as it was");
    const lost = await log.event(EventKind.UPLINK_UNUSABLE, "wan0", start);
    assert.equal(lost.reason, Reason.OPERATOR);
    const ended = await log.event(EventKind.LEASE_EXPIRED, "wan0", start);
    assert.equal(ended.reason, Reason.OPERATOR);
    assert.equal(ended.text, "lease of 10.0.0.100/24 given back to 10.0.0.1");
    assert.equal(await lab.whoami(), 1, "unbound traffic uses the other uplink");
    const leases = readdirSync(`${lab.launcher.stateDirectory}/leases`);
    assert.deepEqual(
      leases.filter((name) => name.includes("wan0")),
      [],
    );
  });

  test("status and link say so, with table and metric as they were, and what to do", async () => {
    const link = await scenario.link("wan0");
    assert.equal(link.state, LinkState.RELEASED);
    assert.deepEqual([link.table, link.metric, link.lease], [7701, 1000, undefined]);
    assert.match(await mnmctl("status"), new RegExp(`\\n! wan0: released \\(${UNDOING}\\)\\n`));
    assert.match(
      await mnmctl("link", "wan0"),
      new RegExp(`^wan0: [a-z]+, released \\(${UNDOING}\\) for `),
    );
  });

  test("carrier that goes and comes does not start it again", async () => {
    await flap();
    assert.equal(await stateOf(), LinkState.RELEASED);
    assert.deepEqual(await heldOfWan0(), []);
  });

  test("release again says that there was nothing to give back", async () => {
    assert.equal(
      await mnmctl("release", "wan0"),
      `wan0: there was no lease to give back\nit stays released; ${UNDOING}\n`,
    );
    assert.equal(releasesSeen(), 1);
  });

  test("reconnect brings it back with a DISCOVER", async () => {
    const { lab, log } = scenario;
    const start = mark();
    const discovers = async () =>
      (await scenario.link("wan0")).dhcp?.counters["sent-discover"] ?? 0n;
    const before = await discovers();
    assert.equal(
      await mnmctl("reconnect", "wan0"),
      "wan0: asking for a new lease; mnmctl events shows how it ends\n",
    );
    await log.event(EventKind.UPLINK_USABLE, "wan0", start);
    assert.ok((await discovers()) > before);
    assert.equal(await lab.whoami({ address: "10.0.0.100" }), 0);
    assert.doesNotMatch(await mnmctl("status"), /released/);
  });

  test("reconnect with a lease gives it back first, and moves to what the server gives", async () => {
    const { lab, log } = scenario;
    const moved = await lab.moveAddress(0);
    const start = mark();
    const { given_up: givenUp } = JSON.parse(await mnmctl("reconnect", "wan0", "--json")) as {
      readonly given_up: object;
    };
    assert.deepEqual(givenUp, {
      address: "10.0.0.100/24",
      server: "10.0.0.1",
      server_told: true,
    });
    await log.until(`wan0 usable with ${moved}`, ({ events }) =>
      events
        .slice(start)
        .some(({ kind, after: now }) => kind === EventKind.UPLINK_USABLE && now.includes(moved)),
    );
    await lab.isps[0]?.dhcp.ready(() => releasesSeen() === 2, "the second DHCPRELEASE");
    assert.equal(await lab.whoami({ address: moved }), 0);
    await until(async () => !(await heldOfWan0()).some((line) => line.includes("10.0.0.100")), {
      timeoutMs: 5000,
      what: "nothing of the old address in the kernel",
    });
    const kinds = log.events.slice(start).map(({ kind }) => kind);
    assert.ok(!kinds.includes(EventKind.LEASE_REFUSED), "it never asked for the old address");
  });

  test("a released link without carrier says what is in the way of reconnecting", async () => {
    const { lab, log } = scenario;
    const start = mark();
    await lab.unplug(0);
    await log.event(EventKind.CARRIER_CHANGED, "wan0", start);
    assert.match(await mnmctl("release", "wan0"), /up, but could not tell 10\.0\.0\.1, /);
    assert.deepEqual(await heldOfWan0(), []);
    assert.equal(releasesSeen(), 2);
    const { code, stderr } = await lab.mnmctl("reconnect", "wan0");
    assert.equal(code, 1);
    assert.equal(
      stderr,
      "error: wan0 has no carrier; it stays released; try again when carrier is back\n",
    );
    await lab.plug(0);
  });

  test("a reload ends a release", async () => {
    const start = mark();
    await mnmctl("reload");
    await scenario.log.event(EventKind.UPLINK_USABLE, "wan0", start);
  });

  test("renew ends a release too", async () => {
    await mnmctl("release", "wan0");
    const start = mark();
    await mnmctl("renew", "wan0");
    await scenario.log.event(EventKind.UPLINK_USABLE, "wan0", start);
  });

  const refusals = [
    ["lo", /^error: lo is the loopback link, which MNM never manages; there are wan0, wan1\n$/],
    ["wan9", /^error: no link is named wan9; there are wan0, wan1\n$/],
  ] as const;
  for (const command of ["renew", "release", "reconnect"]) {
    for (const [link, want] of refusals) {
      test(`${command} ${link} is refused in a sentence`, async () => {
        const { code, stderr } = await scenario.lab.mnmctl(command, link);
        assert.equal(code, 1);
        assert.match(stderr, want);
      });
    }
  }

  test("without a helper it is refused, and nothing is changed", async () => {
    await scenario.helper.stop();
    await until(async () => (await scenario.status()).helper?.text !== "", {
      timeoutMs: 5000,
      what: "the controller to notice",
    });
    for (const command of ["release", "reconnect"]) {
      const { code, stderr } = await scenario.lab.mnmctl(command, "wan1");
      assert.equal(code, 1);
      assert.match(stderr, /^error: the helper is not reachable .*; nothing was changed\n$/);
    }
    assert.equal(await scenario.lab.whoami({ device: "wan1" }), 1);
  });
});

test("on_stop: release tells every server, and leaves the kernel clean", async () => {
  const config = 'links: { "wan*": {} }\non_stop: release\n';
  await using scenario = await Scenario.start({ uplinks: 2, controller: { config } });
  const { lab } = scenario;
  assert.equal((await scenario.controller.stop()).code, 0);
  assert.deepEqual(await ours(lab.host), []);
  for (const { dhcp } of lab.isps) {
    await dhcp.waitForLog(/DHCPRELEASE\(lan\)|^RELEASE: no answer/m);
  }
});
