import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, writeFileSync } from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import { type ServiceError, status } from "@grpc/grpc-js";
import type { HelperClient, LinkRef } from "@mnm/proto/helper";
import { RouteType, RuleKind } from "@mnm/proto/helper";
import { must, run } from "../lab/run.js";
import {
  type Change,
  deleteAddress,
  deleteRoute,
  deleteRule,
  putAddress,
  putRoute,
  putRule,
  rule,
  TABLE,
} from "./helper-changes.js";
import {
  apply,
  capabilitiesOf,
  HELPER_UID,
  HelperRig,
  hello,
  ip4,
  outcomeOf,
  prefix4,
  sleep,
  until,
  verbs,
} from "./helper-rig.js";

describe("the helper and the kernel", () => {
  const rig = new HelperRig();
  let client: HelperClient;
  let wan1: LinkRef;

  before(async () => {
    await rig.start("--peer-uid", "0");
    await rig.ip("link", "add", "wan1", "type", "veth", "peer", "name", "isp1");
    await rig.ip("link", "set", "isp1", "up");
    await rig.ip("link", "set", "wan1", "up");
    wan1 = await rig.link("wan1");
    client = await rig.readyClient();
  });
  after(() => rig.close());

  test("holds exactly the two capabilities in every set, and says so", async () => {
    const two = "0000000000003000";
    const want = { CapInh: two, CapPrm: two, CapEff: two, CapBnd: two, CapAmb: two };
    assert.deepEqual(capabilitiesOf(rig.pid), want);
    const answer = await hello(await newer());
    assert.deepEqual([...answer.capabilities], ["CAP_NET_ADMIN", "CAP_NET_RAW"]);
    assert.deepEqual([...answer.links], ["*"]);
    assert.match(rig.log, /"Capabilities".*"CapBnd":\["CAP_NET_ADMIN","CAP_NET_RAW"\]/);
    assert.doesNotMatch(rig.log, /MORE CAPABILITIES/);
    client = await rig.readyClient();
  });

  async function newer(): Promise<HelperClient> {
    return rig.client();
  }

  test("sets a link up and its five settings", async () => {
    await rig.ip("link", "set", "wan1", "down");
    const value = { link: wan1, up: true, rpFilter: 2, arpIgnore: 1, arpAnnounce: 2 };
    const more = { ignoreRoutesWithLinkdown: 1, promoteSecondaries: 1 };
    const change: Change = { $case: "putLinkSettings", value: { ...value, ...more } };
    assert.deepEqual(await apply(client, change), ["done"]);
    assert.match(await rig.ip("link", "show", "wan1"), /[<,]UP[,>]/);
    const names =
      "rp_filter arp_ignore arp_announce ignore_routes_with_linkdown promote_secondaries";
    const files = names.split(" ").map((name) => `/proc/sys/net/ipv4/conf/wan1/${name}`);
    const text = await must("ip", ["netns", "exec", rig.namespace, "cat", ...files]);
    assert.deepEqual(text.trim().split("\n"), ["2", "1", "2", "1", "1"]);
  });

  test("puts an uplink, refreshes it, and takes it away again", async () => {
    const from = ip4("192.0.2.2");
    const source = { preferredSource: from };
    const to = prefix4("192.0.2.0/24");
    const gateway = ip4("192.0.2.1");
    const rules = [
      rule(RuleKind.DEVICE, { device: "wan1", table: TABLE }),
      rule(RuleKind.SOURCE_TO_CONNECTED, { from, to, table: TABLE }),
      rule(RuleKind.SOURCE, { from, table: TABLE }),
      rule(RuleKind.CONNECTED, { to, table: TABLE, metric: 5 }),
    ];
    const shared = rule(RuleKind.MAIN_WITHOUT_DEFAULTS);
    const unreachable = rule(RuleKind.SOURCE_UNREACHABLE, { from });
    const puts = [
      putRule(wan1, unreachable),
      putAddress(wan1, "192.0.2.2/24", { broadcast: ip4("192.0.2.255") }),
      putRoute(wan1, "192.0.2.0/24", source),
      putRoute(wan1, "0.0.0.0/0", { ...source, gateway, mtu: 1400 }),
      putRoute(wan1, "198.51.100.0/24", { type: RouteType.THROW }),
      ...rules.map((one) => putRule(wan1, one)),
      putRule(undefined, shared),
      putRoute(wan1, "0.0.0.0/0", { ...source, gateway, table: 254, metric: 5 }),
    ];
    const done = puts.map(() => "done");
    assert.deepEqual(await apply(client, ...puts), done);
    // Again: it is all there, and that is success.
    assert.deepEqual(await apply(client, ...puts), done);
    const kernel = async () => ({
      address: (await rig.ip("-4", "-o", "addr", "show", "wan1")).replace(/\s+/g, " ").trim(),
      rules: lines(await rig.ip("rule")).filter((line) => line.endsWith("proto 77")),
      routes: lines(await rig.ip("-4", "route", "show", "table", "all", "proto", "77")),
    });
    const { address, ...rest } = await kernel();
    assert.match(address, /inet 192.0.2.2\/24 brd 192.0.2.255 .*noprefixroute.* valid_lft 3600sec/);
    assert.deepEqual(rest, {
      rules: [
        "9000: from all oif wan1 lookup 7701 proto 77",
        "9400: from 192.0.2.2 to 192.0.2.0/24 lookup 7701 proto 77",
        "9500: from all lookup main suppress_prefixlength 0 proto 77",
        "10000: from 192.0.2.2 lookup 7701 proto 77",
        "10500: from 192.0.2.2 unreachable proto 77",
        "20005: from all to 192.0.2.0/24 lookup 7701 proto 77",
      ],
      routes: [
        "default via 192.0.2.1 dev wan1 table 7701 src 192.0.2.2 mtu 1400",
        "192.0.2.0/24 dev wan1 table 7701 scope link src 192.0.2.2",
        "throw 198.51.100.0/24 table 7701",
        "default via 192.0.2.1 dev wan1 src 192.0.2.2 metric 5",
      ],
    });

    // One of ours is replaced in place: another gateway, a shorter lifetime.
    const changed = [
      putAddress(wan1, "192.0.2.2/24", { broadcast: ip4("192.0.2.255"), validSec: 60 }),
      putRoute(wan1, "0.0.0.0/0", { ...source, gateway: ip4("192.0.2.9") }),
    ];
    assert.deepEqual(await apply(client, ...changed), ["done", "done"]);
    assert.match((await kernel()).address, /valid_lft 60sec/);
    assert.equal((await kernel()).routes[0]?.startsWith("default via 192.0.2.9"), true);

    const deletes = [
      deleteRoute(wan1, "0.0.0.0/0", { table: 254, metric: 5 }),
      deleteRule(shared),
      ...rules.map(deleteRule),
      deleteRoute(wan1, "198.51.100.0/24", { type: RouteType.THROW }),
      deleteRoute(wan1, "0.0.0.0/0"),
      deleteRoute(wan1, "192.0.2.0/24"),
      deleteAddress(wan1, "192.0.2.2/24"),
      deleteRule(unreachable),
    ];
    assert.deepEqual(
      await apply(client, ...deletes),
      deletes.map(() => "done"),
    );
    assert.deepEqual(await kernel(), { address: "", rules: [], routes: [] });
    // Again: what is not there cannot be deleted, and that is success.
    assert.deepEqual(
      await apply(client, ...deletes),
      deletes.map(() => "done"),
    );
  });

  test("leaves addresses, routes and rules of other programs alone", async () => {
    const from = ip4("192.0.2.2");
    await rig.ip("addr", "add", "192.0.2.2/24", "dev", "wan1", "noprefixroute");
    await rig.ip("route", "add", "198.51.100.0/24", "dev", "wan1", "table", `${TABLE}`);
    await rig.ip("route", "add", "default", "dev", "wan1", "metric", "7");
    // RTA_VIA, at which the parser of `netlink` throws.
    const inet6 = ["via", "inet6", "fe80::1", "dev", "wan1", "table", `${TABLE}`];
    await rig.ip("route", "add", "203.0.113.0/24", ...inet6);
    await rig.ip("rule", "add", "priority", "9000", "oif", "wan1", "lookup", `${TABLE}`);
    await rig.ip("rule", "add", "priority", "9500", "lookup", "main", "suppress_prefixlength", "0");
    const before = await dump();
    const shared = rule(RuleKind.MAIN_WITHOUT_DEFAULTS);
    const device = rule(RuleKind.DEVICE, { device: "wan1", table: TABLE });
    const foreign = await apply(
      client,
      putAddress(wan1, "192.0.2.2/24"),
      deleteAddress(wan1, "192.0.2.2/24"),
      putRoute(wan1, "198.51.100.0/24", { preferredSource: from }),
      putRoute(wan1, "0.0.0.0/0", { table: 254, metric: 7 }),
    );
    assert.deepEqual(
      foreign,
      foreign.map(() => "foreign"),
    );
    assert.equal(await dump(), before);
    // The same rule of ours may stand beside theirs, and is the one that goes.
    const rules = [putRule(wan1, device), putRule(undefined, shared)];
    assert.deepEqual(await apply(client, ...rules, ...rules), ["done", "done", "done", "done"]);
    assert.equal(lines(await rig.ip("rule")).filter((line) => line.endsWith("proto 77")).length, 2);
    // The kernel finds none of protocol 77, so that there is nothing to delete.
    const deletes = [
      deleteRoute(wan1, "198.51.100.0/24"),
      deleteRoute(wan1, "0.0.0.0/0", { table: 254, metric: 7 }),
      deleteRule(device),
      deleteRule(shared),
    ];
    assert.deepEqual(await apply(client, ...deletes), ["done", "done", "done", "done"]);
    assert.equal(await dump(), before);

    // Ours beside a foreign one of the same key: still none of it is replaced.
    await rig.ip(
      "route",
      "append",
      "198.51.100.0/24",
      "dev",
      "wan1",
      "table",
      `${TABLE}`,
      "proto",
      "77",
      "src",
      "192.0.2.2",
    );
    const beside = await apply(client, putRoute(wan1, "198.51.100.0/24", { mtu: 1400 }));
    assert.deepEqual(beside, ["foreign"]);
    await rig.ip("addr", "flush", "dev", "wan1");
    await rig.ip("route", "flush", "table", `${TABLE}`);
    await rig.ip("route", "flush", "table", "main");
    await rig.ip("rule", "del", "priority", "9000");
    await rig.ip("rule", "del", "priority", "9500");
  });

  test("gives the kernel's errno and words", async () => {
    const operations = [
      { group: 0, change: putRoute(wan1, "0.0.0.0/0", { gateway: ip4("203.0.113.1") }) },
      { group: 0, change: putRoute(wan1, "198.51.100.0/24") },
      { group: 1, change: putRoute(wan1, "198.51.100.0/24") },
    ];
    const { results } = await verbs(client).apply({ operations });
    assert.deepEqual(results.map(outcomeOf), ["kernel_refused ENETUNREACH", "skipped", "done"]);
    assert.equal(results[0]?.fault?.kernelText, "Nexthop has invalid gateway");
    assert.match(
      results[0]?.fault?.text ?? "",
      /^Refused putRoute .*gateway=203.0.113.1.*ENETUNREACH/,
    );
    await apply(client, deleteRoute(wan1, "198.51.100.0/24"));
  });

  test("counts addresses put earlier in the batch", async () => {
    const source = { preferredSource: ip4("192.0.2.3") };
    const early = putRoute(wan1, "198.51.100.0/24", source);
    const batch = [
      early,
      putAddress(wan1, "192.0.2.3/24"),
      early,
      deleteAddress(wan1, "192.0.2.3/24"),
      early,
    ];
    assert.deepEqual(await apply(client, ...batch), [
      "not_permitted preferred_source",
      "done",
      "done",
      "done",
      "not_permitted preferred_source",
    ]);
    await apply(client, deleteRoute(wan1, "198.51.100.0/24"));
  });

  test("refuses a link whose ifindex is another one's by now", async () => {
    await rig.ip("link", "add", "gone", "type", "veth", "peer", "name", "far");
    const gone = await rig.link("gone");
    await rig.ip("link", "del", "gone");
    assert.deepEqual(await apply(client, putAddress(gone, "192.0.2.2/24")), [
      "link_mismatch ifindex",
    ]);
    // A bridge gets its number, and may even be given its name.
    await rig.ip("link", "add", "new", "index", `${gone.ifindex}`, "type", "bridge");
    const settings: Change = { $case: "putLinkSettings", value: { link: gone, up: true } };
    assert.deepEqual(await apply(client, putAddress(gone, "192.0.2.2/24"), settings), [
      "link_mismatch name",
      "link_mismatch name",
    ]);
    await rig.ip("link", "set", "new", "name", "gone");
    assert.deepEqual(await apply(client, putRoute(gone, "192.0.2.0/24"), settings), [
      "link_mismatch mac",
      "link_mismatch mac",
    ]);
    assert.match(await rig.ip("link", "show", "gone"), /state DOWN/);
    await rig.ip("link", "del", "gone");
  });

  test("takes no more than 256 operations a call, and 5,000 at once", async () => {
    const change: Change = { $case: "putLinkSettings", value: { link: wan1, up: false } };
    const batch = (count: number) => ({ operations: Array(count).fill({ group: 0, change }) });
    const send = (count: number) => verbs(client).apply(batch(count));
    await assert.rejects(send(257), { code: status.INVALID_ARGUMENT });
    await assert.rejects(send(0), { code: status.INVALID_ARGUMENT });
    let taken = 0;
    await assert.rejects(
      async () => {
        for (; taken < 8000; taken += 250) await send(250);
      },
      { code: status.RESOURCE_EXHAUSTED },
    );
    assert.ok(taken >= 4500 && taken < 8000, `${taken} were taken`);
    await until(async () => (await send(1).catch(() => undefined)) !== undefined);
  });

  test("keeps lo and other links out of reach, even renamed", async () => {
    const lo = { ifindex: 1, name: "lo", mac: Buffer.alloc(6) };
    const up = (link: LinkRef): Change => ({ $case: "putLinkSettings", value: { link, up: true } });
    assert.deepEqual(await apply(client, up(lo)), ["not_permitted link"]);
    // 127.0.0.1/8 is what lo holds, and 192.0.2.77 when it is given that.
    await rig.ip("addr", "add", "192.0.2.77/32", "dev", "lo");
    const from = ip4("192.0.2.77");
    const unreachable = rule(RuleKind.SOURCE_UNREACHABLE, { from });
    assert.deepEqual(
      await apply(client, putAddress(wan1, "192.0.2.77/24"), putRule(wan1, unreachable)),
      ["not_permitted address", "not_permitted from"],
    );
    await rig.ip("addr", "del", "192.0.2.77/32", "dev", "lo");
  });

  async function dump(): Promise<string> {
    const parts = [
      await rig.ip("-4", "addr"),
      await rig.ip("-4", "route", "show", "table", "all"),
      await rig.ip("rule"),
    ];
    return parts.join("\n").replace(/\d+sec/g, "Nsec");
  }
});

describe("who may talk to the helper", () => {
  const rig = new HelperRig();
  before(() => rig.start("--peer-uid", "0"));
  after(() => rig.close());

  test("its socket is for its owner and group", async () => {
    const stat = await must("stat", ["-c", "%a %u %g", rig.socket]);
    assert.equal(stat.trim(), `660 ${HELPER_UID} ${HELPER_UID}`);
  });

  test("Hello with another version is refused, and the right one is taken after it", async () => {
    const client = rig.client();
    await assert.rejects(hello(client, 2), { code: status.FAILED_PRECONDITION });
    assert.equal((await hello(client)).protocolVersion, 1);
  });

  test("any verb before Hello, and a second Hello, close the connection", async () => {
    const client = rig.client();
    const before = closings();
    await assert.rejects(verbs(client).apply({ operations: [] }));
    await until(() => closings() === before + 1);
    const other = await rig.readyClient();
    await assert.rejects(hello(other));
    await until(() => closings() === before + 2);
  });

  const closings = () => rig.log.split('"A verb outside of its state"').length - 1;

  test("a newer connection replaces the older one at once", async () => {
    const older = await rig.readyClient();
    const stream = older.receiveDhcp({});
    const ended = new Promise<ServiceError>((resolve) => stream.on("error", resolve));
    await new Promise((resolve) => stream.on("metadata", resolve));
    const start = performance.now();
    const newer = await rig.readyClient();
    assert.ok(performance.now() - start < 500, "the newer one waited");
    const { code, details } = await ended;
    assert.deepEqual([code, details], [status.ABORTED, "Another controller said Hello"]);
    assert.deepEqual(await verbs(newer).closePackets([1]), {});
  });

  test("a connection that says nothing ends, and garbage leaves no descriptor behind", async () => {
    await hello(rig.client());
    const descriptors = () => readdirSync(`/proc/${rig.pid}/fd`).length;
    const usual = descriptors();
    const garbage = Buffer.from("GET / HTTP/1.1\r\n\r\n".repeat(20));
    const sockets = Array.from({ length: 30 }, (_, at) => {
      const socket = net.connect(rig.socket);
      socket.on("error", () => {});
      if (at % 2 === 0) socket.write(garbage);
      return socket;
    });
    await until(() => rig.log.includes("Too many that say nothing"));
    await until(() => descriptors() <= usual);
    for (const socket of sockets) socket.destroy();
    assert.equal(rig.isRunning, true);
    assert.match(rig.log, /It never said Hello/);
  });

  test("a message over 64 KiB is refused", async () => {
    const client = await rig.readyClient();
    const ifindexes = Array.from({ length: 40_000 }, (_, at) => at + 1_000_000);
    await assert.rejects(verbs(client).closePackets(ifindexes), {
      code: status.RESOURCE_EXHAUSTED,
    });
  });

  test("a small message that decompresses to over 64 KiB is refused as well", async () => {
    const client = rig.client({ "grpc.default_compression_algorithm": 2 });
    await hello(client);
    const close = (count: number) => verbs(client).closePackets(Array(count).fill(1_000_000));
    await assert.rejects(close(1_000_000), { code: status.RESOURCE_EXHAUSTED });
    assert.deepEqual(await close(1000), {});
  });

  test("says that it allows 8 streams at once", async () => {
    const session = http2.connect("http://helper", {
      createConnection: () => net.connect(rig.socket),
    });
    session.on("error", () => {});
    const [settings] = await once(session, "remoteSettings");
    assert.equal(settings.maxConcurrentStreams, 8);
    session.destroy();
  });

  test("another uid is refused before a byte is read, even root", async () => {
    const other = new HelperRig();
    try {
      await other.start("--peer-uid", `${HELPER_UID + 1}`);
      // Root may open any socket; only SO_PEERCRED keeps it out.
      const socket = net.connect(other.socket).on("error", () => {});
      await until(() => socket.closed);
      assert.match(other.log, /Connection of another user refused","uid":0/);
      await assert.rejects(hello(other.client()), { code: status.UNAVAILABLE });
      // The named one may; it is in the helper's group, as the controller is.
      const user = [`--reuid=${HELPER_UID + 1}`, `--regid=${HELPER_UID}`, "--clear-groups"];
      const connect = `require("net").connect("${other.socket}")`;
      const script = `setTimeout(() => process.exit(3), 300); ${connect}.once("close", () => process.exit(4))`;
      const kept = await run("setpriv", [...user, process.execPath, "-e", script]);
      assert.equal(kept.code, 3, kept.stderr);
    } finally {
      await other.close();
    }
  });
});

describe("starting and stopping", () => {
  const rig = new HelperRig();
  before(() => rig.start("--peer-uid", "0"));
  after(() => rig.close());

  test("SIGTERM ends it with 0 and removes the socket", async () => {
    const other = new HelperRig();
    try {
      await other.start("--peer-uid", "0");
      await other.readyClient();
      process.kill(other.pid, "SIGTERM");
      await until(() => !other.isRunning);
      assert.match(other.log, /"Stopping"/);
      assert.equal(readdirSync(other.directory).length, 0);
    } finally {
      await other.close();
    }
  });

  test("a socket that is served is left alone, a stale one is replaced", async () => {
    const second = await helper(["--peer-uid", "0", "--socket", rig.socket]);
    assert.deepEqual([second.code, second.stderr.includes("Another program serves")], [1, true]);
    process.kill(rig.pid, "SIGKILL");
    await until(() => !rig.isRunning);
    await rig.startHelper("--peer-uid", "0");
    assert.equal((await hello(rig.client())).protocolVersion, 1);
  });

  test("says in one sentence why it does not start", async () => {
    const file = `${rig.directory}/helper.json`;
    const config = (name: string, text: string) => {
      writeFileSync(`${rig.directory}/${name}`, text);
      return ["--config", `${rig.directory}/${name}`];
    };
    const nobody = config("nobody.json", '{ "peer_uid": "no-such-user" }');
    const cases: [readonly string[], number, RegExp][] = [
      [["--socket"], 2, /argument missing|Option '--socket/],
      [["--peer-uid", "root"], 2, /--peer-uid must be a number/],
      [nobody, 78, /There is no user no-such-user who may/],
      [["--config", "/nonexistent"], 78, /Cannot read \/nonexistent: ENOENT/],
      [config("typo.json", '{ "linkz": [] }'), 78, /Key "linkz" is unknown; .* "links"/],
      [config("helper.json", "{}").concat("extra"), 2, /Unexpected argument/],
    ];
    for (const [args, code, text] of cases) {
      const ended = await helper(args);
      assert.deepEqual([ended.code, ended.stderr.split("\n").length], [code, 2], ended.stderr);
      assert.match(ended.stderr, text);
    }
    await must("chmod", ["666", file]);
    assert.match((await helper(["--config", file, "--peer-uid", "0"])).stderr, /is writable by/);
    await must("chmod", ["644", file]);
    await must("chown", ["1", file]);
    assert.match((await helper(["--config", file, "--peer-uid", "0"])).stderr, /belongs to uid 1/);
  });

  test("listens on the socket that systemd passes on", async () => {
    const path = `${rig.directory}/activated.sock`;
    const script = `
      const net = require("net"), { spawn } = require("child_process");
      const server = net.createServer().listen("${path}", () => {
        const shell = 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "${process.execPath}" dist/mnm-helper.js --allow-excess-capabilities --peer-uid 0';
        const child = spawn("sh", ["-c", shell], { stdio: ["ignore", "ignore", "inherit", server._handle.fd] });
        process.on("SIGTERM", () => { child.kill(); process.exit(0) });
      });`;
    const parent = rig.spawn(rig.namespace, process.execPath, "-e", script);
    let log = "";
    parent.stderr?.on("data", (text) => {
      log += text;
    });
    await until(() => log.includes('"socket":"systemd"'));
    const child = await run("pgrep", ["-P", `${parent.pid}`]);
    const socket = net.connect(path);
    await new Promise((resolve) => socket.once("connect", resolve));
    await sleep(100);
    socket.destroy();
    process.kill(Number(child.stdout.trim()), "SIGTERM");
    assert.match(log, /"Listening"/);
  });

  // By root with all capabilities, since it ends before it serves.
  function helper(args: readonly string[]) {
    const socket = ["--socket", `${rig.directory}/other.sock`, "--allow-excess-capabilities"];
    const argv = [process.execPath, "dist/mnm-helper.js", ...socket, ...args];
    return run("ip", ["netns", "exec", rig.namespace, ...argv]);
  }
});

function lines(text: string): readonly string[] {
  return text
    .split("\n")
    .map((line) => line.replace(/\s+/g, " ").trim())
    .filter((line) => line !== "");
}
