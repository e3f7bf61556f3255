import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type Lab, until } from "../lab/index.js";
import { ours } from "./kernel-text.js";
import { Scenario } from "./scenario.js";

const LEASE_SEC = 14;
/** The goal is 2 s. */
const GONE_WITHIN_MS = 2_000;
/** A machine that is busy with other tests is allowed this much more. */
const NOISE = 2;

/** How long the kernel will keep an address, as it says itself. */
async function leftMs(lab: Lab, link: string): Promise<number> {
  const shown = await lab.host.ip("-4", "addr", "show", "dev", link, "dynamic");
  return Number(/valid_lft (\d+)sec/.exec(shown)?.[1] ?? 0) * 1000;
}

test("with both programs dead traffic flows until the leases end, and no longer", async (t) => {
  await using scenario = await Scenario.start({
    uplinks: 3,
    dhcp: "builtin",
    leaseSec: LEASE_SEC,
  });
  const { lab } = scenario;
  // With another address on the link the kernel leaves ours routes in the table when the lease ends.
  await lab.host.ip("addr", "add", "192.0.2.7/32", "dev", "wan2");
  await Promise.all([scenario.controller.stop("SIGKILL"), scenario.helper.stop("SIGKILL")]);
  const left = Math.min(...(await Promise.all(["wan0", "wan1"].map((name) => leftMs(lab, name)))));
  assert.ok(left > 1000 && left <= LEASE_SEC * 1000, `${left} ms`);

  const pings = await Promise.all(
    ["10.0.0.100", "10.1.0.100"].map((address) => lab.startPing({ address })),
  );
  // The kernel counts whole seconds, and rounds down.
  await delay(left - 500);
  for (const ping of pings) {
    const { sent, lost } = await ping.stop();
    assert.ok(sent > 20, `${sent} pings`);
    assert.equal(lost, 0);
  }
  await until(async () => (await ours(lab.host)).every((line) => !line.includes("noprefixroute")), {
    timeoutMs: (LEASE_SEC + 5) * 1000,
    what: "the kernel to remove the addresses",
  });
  const leftover = await ours(lab.host);
  assert.ok(leftover.some((line) => line.startsWith("10500: from 10.1.0.100")));
  assert.ok(
    leftover.some((line) => line.includes("table 7703")),
    "a route beside the alias",
  );

  // Two of the three networks are gone meanwhile.
  await Promise.all([lab.isps[1]?.dhcp.stop(), lab.isps[2]?.dhcp.stop()]);
  const startedAt = performance.now();
  [scenario.helper, scenario.controller] = await Promise.all([
    lab.startHelper(),
    lab.startController(),
  ]);
  const mine = /wan[12]|770[23]|10\.[12]\.0\./;
  await until(async () => !(await ours(lab.host)).some((line) => mine.test(line)), {
    timeoutMs: 30_000,
    what: "nothing left of wan1 and wan2",
  });
  const tookMs = performance.now() - startedAt;
  t.diagnostic(`leftovers gone ${tookMs.toFixed(0)} ms after the start`);
  assert.ok(tookMs <= NOISE * GONE_WITHIN_MS, `${tookMs} ms`);
  await until(async () => (await lab.whoami({ address: "10.0.0.100" })) === 0, {
    timeoutMs: 20_000,
    what: "wan0",
  });
});
