// What the helper removes without being told each object, rules by selectors, and MULTI's broadcast:
// in a namespace with a configuration of its own.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { status } from "@grpc/grpc-js";
import type { HelperClient, LinkRef } from "@mnm/proto/helper";
import { RouteType, RuleKind } from "@mnm/proto/helper";
import {
  deleteRoute,
  deleteRule,
  putAddress,
  putRoute,
  putRule,
  rule,
  TABLE,
} from "./helper-changes.js";
import { apply, HelperRig, ip4, outcomeOf, prefix4, until, verbs } from "./helper-rig.js";

/** Starts a helper with a configuration, and a link wan1 with a neighbour that it may not touch. */
async function startWith(rig: HelperRig, config: object): Promise<void> {
  const file = `${rig.directory}/helper.json`;
  writeFileSync(file, JSON.stringify({ links: ["wan*"], ...config }), { mode: 0o644 });
  await rig.start("--peer-uid", "0", "--config", file);
  for (const name of ["wan1", "lan1"]) {
    await rig.ip("link", "add", name, "type", "veth", "peer", "name", `${name}-far`);
    await rig.ip("link", "set", `${name}-far`, "up");
    await rig.ip("link", "set", name, "up");
  }
}

const lines = (text: string): readonly string[] =>
  text
    .split("\n")
    .map((line) => line.replace(/\s+/g, " ").trim())
    .filter((line) => line !== "");

describe("what carries protocol 77", () => {
  const rig = new HelperRig();
  let client: HelperClient;
  let wan1: LinkRef;

  before(async () => {
    await startWith(rig, {});
    wan1 = await rig.link("wan1");
    client = await rig.readyClient();
  });
  after(() => rig.close());

  const routes = async () =>
    lines(await rig.ip("-4", "route", "show", "table", "all", "proto", "77"));

  test("DeleteRoute takes away an orphan that names no link, and only ours", async () => {
    await rig.ip("link", "add", "wan9", "type", "veth", "peer", "name", "wan9-far");
    const wan9 = await rig.link("wan9");
    const types = [RouteType.BLACKHOLE, RouteType.UNREACHABLE, RouteType.THROW];
    const to = (at: number) => `198.51.${100 + at}.0/24`;
    const puts = types.map((type, at) => putRoute(wan9, to(at), { type }));
    assert.deepEqual(await apply(client, ...puts), ["done", "done", "done"]);
    await rig.ip("route", "add", "blackhole", "203.0.113.0/24", "table", `${TABLE}`, "proto", "98");
    await rig.ip("link", "del", "wan9");
    assert.equal((await routes()).length, 3, "they outlive their link");
    const byLink = types.map((type, at) => deleteRoute(wan9, to(at), { type }));
    assert.deepEqual(new Set(await apply(client, ...byLink)), new Set(["link_mismatch ifindex"]));

    const byNone = types.map((type, at) => deleteRoute(undefined, to(at), { type }));
    const foreign = deleteRoute(undefined, "203.0.113.0/24", { type: RouteType.BLACKHOLE });
    const outcomes = await apply(client, ...byNone, foreign);
    assert.deepEqual(outcomes, ["done", "done", "done", "done"]);
    assert.deepEqual(await routes(), []);
    const others = await rig.ip("route", "show", "table", `${TABLE}`);
    assert.match(others, /^blackhole 203\.0\.113\.0\/24 proto 98/);
    await rig.ip("route", "flush", "table", `${TABLE}`);

    const refused = await apply(
      client,
      deleteRoute(undefined, "0.0.0.0/0"),
      deleteRoute(undefined, "0.0.0.0/0", { type: RouteType.BLACKHOLE, table: 7700 }),
      deleteRoute(undefined, "0.0.0.0/0", { type: RouteType.BLACKHOLE, table: 254, metric: 5 }),
    );
    assert.deepEqual(refused, ["malformed link", "not_permitted table", "not_permitted type"]);
  });

  test("PurgeOwned removes all of it in the ranges, and nothing else", async () => {
    const from = ip4("192.0.2.2");
    const gateway = ip4("192.0.2.1");
    const owned = [
      putAddress(wan1, "192.0.2.2/24"),
      putRoute(wan1, "192.0.2.0/24", { preferredSource: from }),
      putRoute(wan1, "0.0.0.0/0", { gateway, mtu: 1400 }),
      putRoute(wan1, "198.51.100.0/24", { type: RouteType.BLACKHOLE }),
      putRoute(wan1, "203.0.113.0/24", { table: 9699, type: RouteType.THROW }),
      putRule(wan1, rule(RuleKind.DEVICE, { device: "wan1", table: TABLE })),
      putRule(undefined, rule(RuleKind.MAIN_WITHOUT_DEFAULTS)),
      putRule(wan1, rule(RuleKind.SOURCE_UNREACHABLE, { from })),
      putRoute(wan1, "0.0.0.0/0", { gateway, table: 254, metric: 5 }),
    ];
    // What is not ours: by its mark, its table, its priority, its metric, or its link.
    const foreign = [
      ["addr", "add", "192.0.2.77/24", "dev", "wan1", "noprefixroute"],
      ["route", "add", "203.0.113.0/25", "dev", "wan1", "table", `${TABLE}`],
      ["route", "add", "203.0.113.0/26", "dev", "wan1", "table", "7700", "proto", "77"],
      ["route", "add", "203.0.113.0/27", "dev", "wan1", "proto", "77"],
      ["route", "add", "203.0.113.0/28", "dev", "lan1", "table", `${TABLE}`, "proto", "77"],
      ["route", "add", "default", "dev", "wan1", "metric", "40000", "proto", "77"],
      ["rule", "add", "priority", "9000", "oif", "wan1", "lookup", `${TABLE}`],
      ["rule", "add", "priority", "9001", "oif", "wan1", "lookup", `${TABLE}`, "protocol", "77"],
      ["rule", "add", "priority", "9000", "oif", "wan1", "lookup", "7700", "protocol", "77"],
    ];
    for (const args of foreign) await rig.ip(...args);
    // An address of protocol 77, on a link that helper.json does not allow by its name any longer.
    await rig.ip("link", "add", "wan2", "type", "veth", "peer", "name", "wan2-far");
    const put = await apply(client, putAddress(await rig.link("wan2"), "192.0.2.78/32"));
    assert.deepEqual(put, ["done"]);
    await rig.ip("link", "set", "wan2", "name", "lan2");
    const before = await dump();
    assert.deepEqual(new Set(await apply(client, ...owned)), new Set(["done"]));
    // As a controller of another version, or a hand, would leave: no verb can name it.
    await rig.ip(
      "rule",
      "add",
      "priority",
      "9700",
      "fwmark",
      "5",
      "lookup",
      "7702",
      "protocol",
      "77",
    );
    // Carrier away: the routes are listed as linkdown then.
    await rig.ip("link", "set", "wan1-far", "down");
    const { rules, routes: count, addresses, failed } = await verbs(client).purgeOwned();
    await rig.ip("link", "set", "wan1-far", "up");
    assert.deepEqual(
      { rules, count, addresses, failed },
      { rules: 4, count: 5, addresses: 1, failed: 0 },
    );
    assert.equal(await dump(), before);
    const again = await verbs(client).purgeOwned();
    assert.deepEqual(again, { rules: 0, routes: 0, addresses: 0, failed: 0 });
    assert.match(
      rig.log,
      /"Done","operation":"purgeOwned routes: .*network=198.51.100.0 .*"uid":0,"pid":\d+/,
    );
    await rig.ip("link", "del", "lan1");
    await rig.ip("link", "del", "wan1");
  });

  test("PurgeOwned counts as 256 operations", async () => {
    const other = new HelperRig();
    try {
      await startWith(other, {});
      const purger = await other.readyClient();
      let taken = 0;
      const purgeOften = async () => {
        for (; taken < 30; taken += 1) await verbs(purger).purgeOwned();
      };
      await assert.rejects(purgeOften, { code: status.RESOURCE_EXHAUSTED });
      assert.ok(taken >= 19, `${taken} were taken`);
    } finally {
      await other.close();
    }
  });

  async function dump(): Promise<string> {
    const parts = [
      await rig.ip("-4", "addr", "show", "scope", "global"),
      await rig.ip("-4", "route", "show", "table", "all"),
      await rig.ip("rule"),
    ];
    return parts.join("\n").replace(/,LOWER_UP|NO-CARRIER,|state \w+|\d+sec/g, "");
  }
});

describe("rules by selectors", () => {
  const rig = new HelperRig();
  before(() => startWith(rig, { selectors: { uids: [1000], fwmarks: [7], iifs: ["lan1"] } }));
  after(() => rig.close());

  test("select by what helper.json lists, and by nothing else", async () => {
    const client = await rig.readyClient();
    const wan1 = await rig.link("wan1");
    const table = TABLE;
    const listed = [
      rule(RuleKind.UID, { uid: 1000, table, priority: 9600 }),
      rule(RuleKind.FWMARK, { fwmark: 7, table, priority: 9700 }),
      rule(RuleKind.IIF, { device: "lan1", table, priority: 9899 }),
    ];
    const others = [
      rule(RuleKind.UID, { uid: 0, table, priority: 9600 }),
      rule(RuleKind.FWMARK, { fwmark: 6, table, priority: 9700 }),
      rule(RuleKind.IIF, { device: "lo", table, priority: 9899 }),
    ];
    const puts = [...listed, ...others].map((one) => putRule(wan1, one));
    const want = ["not_permitted uid", "not_permitted fwmark", "not_permitted device"];
    assert.deepEqual(await apply(client, ...puts), ["done", "done", "done", ...want]);
    const held = async () =>
      lines(await rig.ip("rule")).filter((line) => line.endsWith("proto 77"));
    assert.deepEqual(await held(), [
      `9600: from all uidrange 1000-1000 lookup ${TABLE} proto 77`,
      `9700: from all fwmark 0x7 lookup ${TABLE} proto 77`,
      `9899: from all iif lan1 lookup ${TABLE} proto 77`,
    ]);
    const again = await apply(client, ...puts.slice(0, 3), ...listed.map(deleteRule));
    assert.deepEqual(new Set(again), new Set(["done"]));
    assert.deepEqual(await held(), []);
    assert.deepEqual(
      await apply(
        client,
        putAddress(wan1, "192.0.2.2/24"),
        putRule(wan1, rule(RuleKind.CONNECTED, { to: prefix4("0.0.0.0/0"), table, metric: 1 })),
      ),
      ["done", "not_permitted to"],
    );
  });
});

describe("MULTI's broadcast", () => {
  const rig = new HelperRig();
  before(() => startWith(rig, { legacy_broadcast: true }));
  after(() => rig.close());

  // As multi_netlinkrecv.c: a generic netlink socket in group 1, the payload behind 16 bytes.
  const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
s.bind((0, 1))
print("ready", flush=True)
while True:
    data, (sender, groups) = s.recvfrom(4096)
    print(groups, data.hex(), flush=True)
`;

  test("reaches who listens in group 1, in the bytes of MULTI", async () => {
    const receiver = rig.spawn(rig.namespace, "python3", "-c", RECEIVER);
    let heard = "";
    receiver.stdout?.on("data", (text) => {
      heard += text;
    });
    await until(() => heard.includes("ready"));
    const client = await rig.readyClient();
    const { results } = await verbs(client).broadcastLegacyEvent([
      { ifindex: 7, up: true },
      { ifindex: 0x0102_0304, up: false },
      { ifindex: 0, up: true },
    ]);
    assert.deepEqual(results.map(outcomeOf), ["done", "done", "malformed ifindex"]);
    await until(() => heard.split("\n").length > 3);
    const pid = Buffer.alloc(4);
    pid.writeUInt32LE(rig.pid);
    const header = `180000000000000000000000${pid.toString("hex")}`;
    // Length 24, sender; state, ifindex in host order, padding.
    assert.deepEqual(lines(heard), [
      "ready",
      `1 ${header}0107000000000000`,
      `1 ${header}0004030201000000`,
    ]);
  });

  test("is off unless helper.json says otherwise", async () => {
    const other = new HelperRig();
    try {
      await startWith(other, {});
      const { results } = await verbs(await other.readyClient()).broadcastLegacyEvent([
        { ifindex: 7, up: true },
      ]);
      assert.deepEqual(results.map(outcomeOf), ["not_permitted legacy_broadcast"]);
    } finally {
      await other.close();
    }
  });
});
