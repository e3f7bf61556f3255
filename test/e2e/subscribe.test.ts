import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { EventKind } from "@mnm/proto/network-manager";
import { REPOSITORY } from "../lab/identity.js";
import { EventLog, Scenario } from "./scenario.js";

describe("Subscribe", () => {
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({ uplinks: 2 });
  });
  after(() => scenario[Symbol.asyncDispose]());

  /** Makes two events of its own kind: one metric there and back. */
  async function stir(): Promise<void> {
    for (const metric of ["3000", "3001"]) {
      assert.equal((await scenario.lab.mnmctl("set-metric", "wan1", metric)).code, 0);
    }
  }

  test("a late subscriber gets the snapshot, then synced, then what happens", async () => {
    const late = new EventLog(scenario.client);
    await late.synced();
    assert.deepEqual(late.snapshot.map(({ name }) => name).toSorted(), ["wan0", "wan1"]);
    const order = late.items.map(({ item }) => item?.$case);
    assert.deepEqual(order, ["link", "link", "synced"]);
    await stir();
    await late.event(EventKind.METRIC_CHANGED, "wan1");
    late.close();
  });

  test("one that reconnects after its last event gets exactly what it missed", async () => {
    const first = new EventLog(scenario.client);
    await first.synced();
    const synced = first.items.find(({ item }) => item?.$case === "synced")?.item;
    assert.equal(synced?.$case, "synced");
    const position = synced?.$case === "synced" ? synced.value : undefined;
    first.close();

    await stir();
    const missed = scenario.log.events.filter(
      ({ sequence }) => sequence > (position?.sequence ?? 0n),
    );
    const again = new EventLog(scenario.client, { resumeAfter: position });
    await again.synced();
    assert.deepEqual(again.snapshot, []);
    assert.deepEqual(
      again.events.map(({ sequence }) => sequence),
      missed.map(({ sequence }) => sequence),
    );
    assert.ok(missed.length >= 2);
    again.close();
  });

  test("a position that is not known leads to reset and a snapshot", async () => {
    const resumeAfter = { instance: "another", sequence: 5n };
    const log = new EventLog(scenario.client, { resumeAfter });
    await log.synced();
    assert.equal(log.items[0]?.item?.$case, "reset");
    assert.equal(log.snapshot.length, 2);
    log.close();
  });

  test("filters by link and kind, and skips numbers", async () => {
    const log = new EventLog(scenario.client, {
      links: ["wan0"],
      kinds: [EventKind.METRIC_CHANGED],
    });
    await log.synced();
    await stir();
    assert.equal((await scenario.lab.mnmctl("set-metric", "wan0", "2000")).code, 0);
    await log.event(EventKind.METRIC_CHANGED, "wan0");
    assert.equal(log.events.length, 1);
    log.close();
  });

  test("one that stops reading is cut and told, while another misses nothing", async () => {
    const { lab } = scenario;
    // A whole process that is stopped: a client of this process would go on reading behind our back.
    const follow = [process.execPath, `${REPOSITORY}/dist/mnmctl.js`, "events", "--follow"];
    const env = { ...process.env, MNM_SOCKET: lab.launcher.controllerSocket };
    const stalled = lab.host.start("mnmctl-events", follow, env);
    await stir();
    await stalled.waitForLog(/wan1/);
    stalled.signal("SIGSTOP");

    const start = scenario.log.events.length;
    // Addresses are the cheapest events there are: thousands of them, in one batch each way.
    const lines = Array.from({ length: 250 * 16 }, (_, n) => `172.30.${n >> 8}.${n & 255}/32`);
    await lab.host.ipBatch(lines.map((address) => `addr add ${address} dev wan1`));
    await lab.host.ipBatch(lines.map((address) => `addr del ${address} dev wan1`));
    const count = lines.length * 2;
    await scenario.log.until(
      `${count} events`,
      ({ events }) =>
        events.slice(start).filter(({ before, after }) => /^172\.30\./.test(before || after))
          .length === count,
    );
    const numbers = scenario.log.events.map(({ sequence }) => sequence);
    assert.ok(numbers.every((n, index) => index === 0 || n === (numbers[index - 1] ?? 0n) + 1n));
    await scenario.controller.waitForLog(/subscriber that does not read was cut/, 30_000);

    stalled.signal("SIGCONT");
    // It is told, resumes after the last event it has shown, and so shows every one in the end.
    await stalled.waitForLog(/172\.30\.15\.159\/32 removed/, 30_000);
    const shown = [...stalled.log().matchAll(/#(\d+) /g)].map(([, n]) => Number(n));
    assert.ok(shown.every((n, index) => index === 0 || n === (shown[index - 1] ?? 0) + 1));
    await stalled.stop();
  });
});
