// What the controller makes of the helper's verbs that no uplink needs: orphans, what is left at the
// end, MULTI's broadcast.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EventKind } from "@mnm/proto/network-manager";
import { type Lab, until } from "../lab/index.js";
import { ours } from "./kernel-text.js";
import { EventLog, Scenario } from "./scenario.js";

const ORPHANS = [
  "blackhole 198.51.100.0/24 table 7705",
  "unreachable 198.51.101.0/24 table 7705",
  "throw 198.51.102.0/24 table 7706 metric 3",
];

/** As a link leaves them that goes while nobody looks. */
const addOrphans = async ({ host }: Lab) =>
  void (await host.ipBatch(ORPHANS.map((route) => `route add ${route} proto 77`)));

const orphansOf = async ({ host }: Lab) =>
  (await ours(host)).filter((line) => line.includes("198.51.10"));

async function untilGone(lab: Lab): Promise<void> {
  const isGone = async () => (await orphansOf(lab)).length === 0;
  await until(isGone, { timeoutMs: 10_000, what: "the end of the orphans" });
}

test("routes of ours that outlived their link are taken away, found at the start or later", async () => {
  const prepare = async (lab: Lab) => {
    await addOrphans(lab);
    await lab.host.ip("route", "add", "blackhole", "203.0.113.0/25", "table", "7705");
  };
  await using scenario = await Scenario.start({ uplinks: 1, prepare });
  const { lab } = scenario;
  await untilGone(lab);
  await addOrphans(lab);
  await untilGone(lab);
  // That they were there is the helper's word.
  const removed = scenario.helper
    .log()
    .match(/"Done","operation":"deleteRoute table=770[56] type=/g);
  assert.equal(removed?.length, 2 * ORPHANS.length);
  // Another program's is not.
  assert.match(
    await lab.host.ip("route", "show", "table", "7705"),
    /^blackhole 203\.0\.113\.0\/25/,
  );
  assert.equal(await lab.whoami({ device: "wan0" }), 0);
});

test("on_stop: flush leaves nothing of protocol 77, not even what the controller cannot name", async () => {
  const config = 'links: { "wan*": {} }\non_stop: flush\n';
  await using scenario = await Scenario.start({ uplinks: 1, controller: { config } });
  const { host } = scenario.lab;
  const leftovers = ["fwmark 5 lookup 7702", "uidrange 1000-1000 lookup 7702"];
  for (const [at, rule] of leftovers.entries()) {
    await host.ip("rule", "add", "priority", `${9700 + at}`, ...rule.split(" "), "protocol", "77");
  }
  await host.ip("rule", "add", "priority", "9702", "fwmark", "6", "lookup", "7702");
  assert.equal((await scenario.controller.stop()).code, 0);
  assert.deepEqual(await ours(host), []);
  assert.match(await host.ip("rule"), /^9702:\s+from all fwmark 0x6 lookup 7702 ?$/m);
});

// As multi_netlinkrecv.c does; prints state and ifindex of each message.
const RECEIVER = `
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
s.bind((0, 1))
print("ready", flush=True)
while True:
    data = s.recv(4096)
    print(len(data), *struct.unpack_from("=BI", data, 16), flush=True)
`;

test("legacy_broadcast: a subscriber of MULTI hears of uplinks that come and go", async () => {
  const on = 'links: { "wan*": {} }\nlegacy_broadcast: true\n';
  await using scenario = await Scenario.start({
    uplinks: 2,
    helper: { config: '{ "legacy_broadcast": true }' },
    controller: { config: on.replace("true", "false") },
  });
  const { lab } = scenario;
  const receiver = lab.host.start("multi", ["python3", "-c", RECEIVER]);
  await receiver.waitForLog(/^ready$/m);
  const numbers = await Promise.all(
    ["wan0", "wan1"].map(async (name) => (await scenario.link(name)).ifindex),
  );
  const heard = () => receiver.log().trim().split("\n").slice(1);
  lab.launcher.writeConfig(on);
  assert.equal((await lab.mnmctl("reload")).code, 0);
  // Who begins to be told is told what is.
  await until(async () => heard().length >= 2, { timeoutMs: 10_000, what: "two messages" });
  assert.deepEqual(heard().toSorted(), numbers.map((ifindex) => `24 1 ${ifindex}`).toSorted());

  await lab.removeLink(1);
  await until(async () => heard().length >= 3, { timeoutMs: 10_000, what: "the third message" });
  assert.equal(heard()[2], `24 0 ${numbers[1]}`);

  const start = scenario.log.events.length;
  await lab.addLink(1);
  await scenario.log.event(EventKind.UPLINK_USABLE, "wan1", start);
  const { ifindex } = await scenario.link("wan1");
  assert.notEqual(ifindex, numbers[1]);
  await until(async () => heard().length >= 4, { timeoutMs: 10_000, what: "the fourth message" });
  assert.equal(heard()[3], `24 1 ${ifindex}`);
});

test("legacy_broadcast: where helper.json does not allow it, that is logged once, and all else works", async () => {
  const config = 'links: { "wan*": {} }\nlegacy_broadcast: true\n';
  await using scenario = await Scenario.start({ uplinks: 2, controller: { config } });
  const { controller, lab } = scenario;
  const log = new EventLog(scenario.client);
  await controller.waitForLog(/MULTI's subscribers were not told/);
  await lab.removeLink(1);
  await scenario.log.event(EventKind.UPLINK_UNUSABLE, "wan1");
  log.close();
  assert.match(controller.log(), /legacy_broadcast must be true in helper.json/);
  assert.equal(controller.log().split("MULTI's subscribers").length, 2);
  assert.equal(await lab.whoami({ device: "wan0" }), 0);
});
