// The adapters against the real kernel, in a network namespace that ends with the test. Also the
// record of what Linux does and does not notify (see kernel-monitor.ts): a kernel that behaves
// otherwise fails here.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { formatIpv4, formatIpv4Prefix } from "@mnm/proto/net";
import type { KernelNotification, KernelRoute, KernelSnapshot } from "../reconcile/index.js";
import { CAPTURES } from "../testing/kernel-captures.js";
import { KernelDump } from "./kernel-dump.js";
import { KernelMonitor } from "./kernel-monitor.js";
import { bootClockMs } from "./sys.js";
import { DeviceTypes } from "./sysfs.js";

const INSIDE = "MNM_TEST_IN_NETNS";

if (process.env[INSIDE] === undefined) {
  test("in a network namespace of its own", () => runInside());
} else {
  describe("kernel-dump", dumpTests);
  describe("kernel-monitor", monitorTests);
}

/** Runs this file again, as root of a new namespace; a user namespace serves who is not root. */
function runInside(): void {
  const asRoot = process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"];
  const script = 'mount -t sysfs sysfs /sys && exec "$0" --enable-source-maps --test "$1"';
  const self = fileURLToPath(import.meta.url);
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const run = spawnSync(
    "unshare",
    [...asRoot, "--net", "--mount", "sh", "-c", script, process.execPath, self],
    { env: { ...env, [INSIDE]: "1" }, encoding: "utf8", timeout: 120_000 },
  );
  // Without the right to make a namespace this fails, and says so, rather than skip.
  assert.equal(run.status, 0, `${run.error ?? ""}${run.stdout}${run.stderr}`);
  assert.match(run.stdout, /^# pass [1-9]/m);
}

/** ip(8) with the words of a command line. */
function ip(command: string): void {
  execFileSync("ip", command.split(" "));
}

function sysctl(name: string, value: number): void {
  writeFileSync(`/proc/sys/net/ipv4/conf/${name}`, `${value}`);
}

/** A veth pair with carrier: v, which the tests are about, and w. */
function addPair(): void {
  ip("link add v address 02:00:00:00:00:01 type veth peer name w address 02:00:00:00:00:02");
  ip("link set v up");
  ip("link set w up");
}

/** Takes away all that a test may have left. */
function clear(): void {
  spawnSync("ip", ["link", "del", "v"]);
  for (const family of ["rule", "route"]) {
    spawnSync("ip", [family, "flush", ...(family === "rule" ? [] : ["table", "7701"])]);
  }
  spawnSync("ip", ["rule", "add", "pref", "32766", "lookup", "main"]);
  sysctl("all/rp_filter", 0);
}

const dependencies = { now: bootClockMs, deviceTypeOf: new DeviceTypes().of };

async function snapshotOf(dump: KernelDump): Promise<KernelSnapshot> {
  const dumped = await dump.snapshot();
  assert.ok(dumped.ok, dumped.ok ? "" : JSON.stringify(dumped.error));
  return dumped.value;
}

function formatRoute(route: KernelRoute): string {
  const { table, type, destination, metric } = route;
  return `${type} ${formatIpv4Prefix(destination)} table ${table} metric ${metric}`;
}

/** Routes as an uplink has them, and one without a link. */
function addOurRoutes(): void {
  ip("address add 192.0.2.2/24 dev v noprefixroute");
  ip("route add 192.0.2.0/24 dev v table 7701 proto 77 scope link src 192.0.2.2");
  ip("route add default via 192.0.2.1 dev v table 7701 proto 77 src 192.0.2.2");
  ip("route add default via 192.0.2.1 dev v proto 77 src 192.0.2.2 metric 1000 onlink");
  ip("route add default via 192.0.2.1 dev v proto 77 metric 1001 onlink");
  ip("route add unreachable 203.0.113.0/24 table 7701 proto 77");
  ip("rule add pref 10000 from 192.0.2.2 lookup 7701 protocol 77");
  ip("rule add pref 9000 oif v lookup 7701 protocol 77");
}

const UNREACHABLE = "unreachable 203.0.113.0/24 table 7701 metric 0";
const CONNECTED = "unicast 192.0.2.0/24 table 7701 metric 0";
const TABLE_DEFAULT = "unicast 0.0.0.0/0 table 7701 metric 0";
const MAIN_WITH_SOURCE = "unicast 0.0.0.0/0 table 254 metric 1000";
const MAIN_WITHOUT_SOURCE = "unicast 0.0.0.0/0 table 254 metric 1001";

function addressBatch(): string {
  return batchOf(3000, (index) => `addr add 10.0.${index >> 8}.${index & 255}/32 dev v`);
}

function ruleBatch(): string {
  return batchOf(3000, (index) => `rule add pref ${20_000 + index}`);
}

function batchOf(length: number, line: (index: number) => string): string {
  return Array.from({ length }, (_, index) => `${line(index)}\n`).join("");
}

function dumpTests(): void {
  let dump: KernelDump;
  before(() => {
    dump = new KernelDump(dependencies);
  });
  after(() => {
    dump.close();
    clear();
  });
  beforeEach(clear);

  test("a namespace that has no route yet", async () => {
    const { links, addresses, routes } = await snapshotOf(dump);
    assert.ok(links.some(({ name, loopback }) => name === "lo" && loopback));
    assert.deepEqual([addresses, routes], [[], []]);
  });

  test("a snapshot shows what is there and leaves out what MNM does not look at", async () => {
    addPair();
    addOurRoutes();
    ip("address add 198.51.100.1/25 dev v valid_lft 100 preferred_lft 100");
    ip("route add 203.0.113.0/25 dev v");
    ip("route add default dev v metric 9");
    ip("route add default dev v table 99");
    sysctl("all/rp_filter", 2);
    sysctl("v/arp_ignore", 1);
    const now = bootClockMs();
    const snapshot = await snapshotOf(dump);

    const link = snapshot.links.find(({ name }) => name === "v");
    assert.ok(link);
    assert.equal(link.mac, "02:00:00:00:00:01");
    assert.equal(link.settings.arpIgnore, 1);
    assert.equal(snapshot.rpFilterAll, 2);
    const addresses = snapshot.addresses.filter(({ ifindex }) => ifindex === link.ifindex);
    assert.deepEqual(
      addresses.map(({ address, length }) => `${formatIpv4(address)}/${length}`),
      ["192.0.2.2/24", "198.51.100.1/25"],
    );
    const [forever, leased] = addresses;
    assert.equal(forever?.expiry, undefined);
    assert.ok(Math.abs((leased?.expiry ?? 0) - now - 100_000) <= 2000);
    assert.deepEqual(
      snapshot.routes.map(formatRoute).sort(),
      [
        CONNECTED,
        TABLE_DEFAULT,
        MAIN_WITH_SOURCE,
        MAIN_WITHOUT_SOURCE,
        "unicast 0.0.0.0/0 table 254 metric 9",
        UNREACHABLE,
      ].sort(),
    );
    assert.deepEqual(
      snapshot.rules.map(({ priority, protocol }) => [priority, protocol]).slice(1, 3),
      [
        [9000, 77],
        [10_000, 77],
      ],
    );
    const routes = await dump.routes();
    assert.deepEqual(routes, { ok: true, value: snapshot.routes });
  });

  test("listings of many parts are complete, and two at once do not mix", async () => {
    addPair();
    const batch = batchOf(6000, (index) => {
      const network = `${index >> 8}.${index & 255}.0/24`;
      return `route add 10.${network} dev v table 7701 proto 77\nroute add 11.${network} dev v`;
    });
    execFileSync("ip", ["-batch", "-"], { input: batch });
    const both = await Promise.all([dump.routes(), dump.routes(), dump.snapshot()]);
    for (const dumped of both) {
      assert.ok(dumped.ok);
      const routes = "routes" in dumped.value ? dumped.value.routes : dumped.value;
      assert.equal(new Set(routes.map(formatRoute)).size, 6000);
    }
  });

  test("of main only the defaults are read, whatever else is there and wherever they come", async () => {
    addPair();
    const prefixes = Array.from({ length: 32 }, (_, bits) => `route add 0.0.0.0/${bits + 1} dev v`);
    const defaults = Array.from(
      { length: 3000 },
      (_, index) => `route add default dev v metric ${index + 1}`,
    );
    const others = batchOf(
      60_000,
      (index) => `route add 10.${index >> 8}.${index & 255}.0/24 dev v`,
    );
    // The kernel takes 0.0.0.0/32 for no address of a neighbour, and the rest as it is.
    const lines = [...prefixes.slice(0, 31), ...defaults].join("\n");
    execFileSync("ip", ["-batch", "-"], { input: `${others}${lines}\n` });
    ip("route add default dev v table 7701 proto 77");
    const dumped = await dump.routes();
    assert.ok(dumped.ok);
    const metrics = dumped.value.filter(({ table }) => table === 254).map(({ metric }) => metric);
    assert.equal(new Set(metrics).size, 3000);
    assert.equal(dumped.value.length, 3001);
    // The rest of the listing, which was not read, does not get into the next one.
    assert.deepEqual(await dump.routes(), dumped);
  });

  const changes = [
    // These have NLM_F_DUMP_INTR, and the rules have not: see kernel-dump.ts.
    { object: "addr", existing: "198.51.100.1/32 dev v", pair: addressBatch },
    { object: "rule", existing: "pref 5", pair: ruleBatch },
  ];
  for (const { object, existing, pair } of changes) {
    test(`a change during a listing makes it interrupted: ${object}`, async () => {
      addPair();
      execFileSync("ip", ["-batch", "-"], { input: pair() });
      const directory = mkdtempSync(join(tmpdir(), "mnm-netns-"));
      const script = join(directory, "batch");
      writeFileSync(
        script,
        `${object} add ${existing}\n${object} del ${existing}\n`.repeat(200_000),
      );
      const churn = spawn("ip", ["-batch", script], { stdio: "ignore" });
      const codes = new Set<string>();
      for (let round = 0; round < 500 && !codes.has("interrupted"); round++) {
        const dumped = await dump.snapshot();
        codes.add(dumped.ok ? "ok" : dumped.error.code);
        await sleep(1);
      }
      churn.kill("SIGKILL");
      await once(churn, "close");
      rmSync(directory, { recursive: true });
      assert.ok(codes.has("interrupted"));
      assert.equal(codes.has("failed"), false);
      await snapshotOf(dump);
    });
  }

  test("a closed one says so", async () => {
    const closed = new KernelDump(dependencies);
    closed.close();
    const text = "Cannot list links: closed";
    assert.deepEqual(await closed.snapshot(), { ok: false, error: { code: "failed", text } });
  });
}

/** What a monitor reports, as text. */
class Recorder {
  readonly monitor: KernelMonitor;
  overruns: string[] = [];
  settingWrites = 0;
  #seen: KernelNotification[] = [];

  constructor(options: { receiveBuffer?: number } = {}) {
    const listener = {
      onNotifications: (batch: readonly KernelNotification[]) => this.#seen.push(...batch),
      onOverrun: (reason: string) => this.overruns.push(reason),
      onSettingChanged: () => {
        this.settingWrites += 1;
      },
    };
    this.monitor = new KernelMonitor(dependencies, listener, options);
  }

  /** What came since the last call, when `change` is done and the kernel had time to tell. */
  async after(change: () => void, waitMs = 150): Promise<readonly string[]> {
    return (await this.allAfter(change, waitMs)).map(formatNotification);
  }

  async allAfter(change: () => void, waitMs = 150): Promise<readonly KernelNotification[]> {
    await sleep(50);
    this.#seen = [];
    change();
    await sleep(waitMs);
    return this.#seen;
  }
}

function formatNotification(notification: KernelNotification): string {
  switch (notification.kind) {
    case "link": {
      const { name, adminUp, carrier } = notification.link;
      return `link ${name}${adminUp ? " up" : " down"}${carrier ? " carrier" : ""}`;
    }
    case "link-gone":
      return "link-gone";
    case "address":
    case "address-gone":
      return `${notification.kind} ${formatIpv4(notification.address.address)}`;
    case "route":
    case "route-gone":
      return `${notification.kind} ${formatRoute(notification.route)}`;
    case "rule":
    case "rule-gone":
      return `${notification.kind} ${notification.rule.priority}`;
    default:
      return "";
  }
}

function monitorTests(): void {
  let recorder: Recorder;
  let dump: KernelDump;
  before(() => {
    dump = new KernelDump(dependencies);
    recorder = new Recorder();
  });
  after(() => {
    recorder.monitor.close();
    dump.close();
    clear();
  });
  beforeEach(() => {
    clear();
    addPair();
    recorder.overruns = [];
  });

  async function routesLeft(): Promise<readonly string[]> {
    return (await snapshotOf(dump)).routes.map(formatRoute).sort();
  }

  async function rulesLeft(): Promise<readonly number[]> {
    const { rules } = await snapshotOf(dump);
    return rules.filter(({ protocol }) => protocol === 77).map(({ priority }) => priority);
  }

  test("additions and deletions by hand are all reported", async () => {
    const added = await recorder.after(addOurRoutes);
    assert.deepEqual(added, [
      "address 192.0.2.2",
      `route ${CONNECTED}`,
      `route ${TABLE_DEFAULT}`,
      `route ${MAIN_WITH_SOURCE}`,
      `route ${MAIN_WITHOUT_SOURCE}`,
      `route ${UNREACHABLE}`,
      "rule 10000",
      "rule 9000",
    ]);
    const deleted = await recorder.after(() => {
      ip("route del unreachable 203.0.113.0/24 table 7701");
      ip("rule del pref 9000");
      ip("link set v name other");
      ip("link set other name v");
    });
    assert.deepEqual(deleted.slice(0, 2), [`route-gone ${UNREACHABLE}`, "rule-gone 9000"]);
    assert.ok(deleted.some((text) => text.startsWith("link other")));
  });

  test("foreign routes are not reported but defaults in main", async () => {
    const seen = await recorder.after(() => {
      ip("route add 203.0.113.0/24 dev v");
      ip("route add default dev v table 99");
      ip("route add default dev v metric 9");
      ip("route del default dev v metric 9");
    });
    const text = "unicast 0.0.0.0/0 table 254 metric 9";
    assert.deepEqual(seen, [`route ${text}`, `route-gone ${text}`]);
  });

  test("a foreign route is reported when it takes another's place in a table of ours", async () => {
    const route = "203.0.113.0/24 dev v table";
    ip(`route add ${route} 7701 proto 77`);
    const seen = await recorder.after(() => {
      ip(`route replace ${route} 7701 mtu 1400`);
      ip(`route add ${route} 7700`);
      ip(`route replace ${route} 7700 mtu 1400`);
      ip(`route replace ${route} 99`);
      ip(`route replace ${route} 99 mtu 1400`);
    });
    assert.deepEqual(seen, ["route unicast 203.0.113.0/24 table 7701 metric 0"]);
  });

  test("fact: who asked for a change is told of addresses, routes and rules, not of links", async () => {
    addOurRoutes();
    const told = await recorder.allAfter(() => {
      ip("rule del priority 9000");
      ip("route del 192.0.2.0/24 table 7701");
      ip("address del 192.0.2.2/24 dev v");
      ip("link set v mtu 1400");
    });
    const requesters = told.flatMap(({ requester }) => requester ?? []);
    assert.equal(new Set(requesters).size, 3, "each ip is a process of its own");
    assert.deepEqual(
      told.map(({ kind, requester }) => `${kind}${requester === undefined ? "" : ", told"}`),
      ["rule-gone, told", "route-gone, told", "address-gone, told", "route-gone", "link"],
    );
  });

  test("fact: admin down takes all routes through the link, and only the link is reported", async () => {
    addOurRoutes();
    const seen = await recorder.after(() => ip("link set v down"));
    assert.deepEqual(
      seen.filter((text) => !text.startsWith("link w")),
      ["link v down"],
    );
    assert.deepEqual(await routesLeft(), [UNREACHABLE]);
    assert.deepEqual(await rulesLeft(), [9000, 10_000]);
    assert.equal((await snapshotOf(dump)).addresses.length, 1, "the address stays");
  });

  test("fact: with a link its routes go without a word, and its rules stay", async () => {
    addOurRoutes();
    const seen = await recorder.after(() => ip("link del v"));
    assert.deepEqual(
      seen.filter((text) => !text.startsWith("link ")),
      ["address-gone 192.0.2.2", "link-gone", "link-gone"],
    );
    assert.deepEqual(await routesLeft(), [UNREACHABLE]);
    assert.deepEqual(await rulesLeft(), [9000, 10_000]);
  });

  const endings = [
    { name: "is deleted", end: () => ip("address del 192.0.2.2/24 dev v"), waitMs: 150 },
    {
      name: "expires",
      end: () => ip("address change 192.0.2.2/24 dev v noprefixroute valid_lft 1 preferred_lft 1"),
      waitMs: 3000,
    },
  ];
  for (const { name, end, waitMs } of endings) {
    test(`fact: when the last address ${name}, all routes through the link go`, async () => {
      addOurRoutes();
      const seen = await recorder.after(end, waitMs);
      assert.deepEqual(
        seen.filter((text) => text.includes("gone")),
        ["address-gone 192.0.2.2", `route-gone ${MAIN_WITH_SOURCE}`],
      );
      assert.deepEqual(await routesLeft(), [UNREACHABLE]);
    });
  }

  test("fact: with another address on the link, only main's routes from the deleted go", async () => {
    addOurRoutes();
    ip("address add 198.51.100.1/24 dev v noprefixroute");
    const seen = await recorder.after(() => ip("address del 192.0.2.2/24 dev v"));
    assert.deepEqual(seen, ["address-gone 192.0.2.2", `route-gone ${MAIN_WITH_SOURCE}`]);
    const left = [CONNECTED, TABLE_DEFAULT, MAIN_WITHOUT_SOURCE, UNREACHABLE];
    assert.deepEqual(await routesLeft(), left.sort());
  });

  test("fact: without carrier every route stays", async () => {
    addOurRoutes();
    const seen = await recorder.after(() => ip("link set w down"), 1500);
    assert.deepEqual(
      seen.filter((text) => !text.startsWith("link w")),
      ["link v up"],
    );
    assert.equal((await routesLeft()).length, 5);
  });

  test("fact: of a write to /proc/sys two of five settings are reported, and never a link", async () => {
    const silent = await recorder.after(() => {
      sysctl("v/arp_ignore", 1);
      sysctl("v/arp_announce", 2);
      sysctl("v/promote_secondaries", 1);
      sysctl("v/forwarding", 1);
    });
    assert.deepEqual([silent, recorder.settingWrites], [[], 0]);
    for (const name of ["v/rp_filter", "v/ignore_routes_with_linkdown", "all/rp_filter"]) {
      const before = recorder.settingWrites;
      assert.deepEqual(await recorder.after(() => sysctl(name, 1)), []);
      assert.equal(recorder.settingWrites, before + 1, name);
    }
    assert.deepEqual(recorder.overruns, []);
  });

  test("what another process sends to the monitor's port is not believed", async () => {
    const port = readFileSync("/proc/net/netlink", "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .find(
        ([, protocol, , groups]) => protocol === "0" && Number.parseInt(groups ?? "", 16) > 0,
      )?.[2];
    assert.ok(port !== undefined);
    const python =
      "import socket, sys\n" +
      "s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n" +
      "s.sendto(bytes.fromhex(sys.argv[1]), (int(sys.argv[2]), 0))";
    const seen = await recorder.after(() => {
      execFileSync("python3", ["-c", python, CAPTURES.linkGone.toString("hex"), port]);
    });
    assert.deepEqual([seen, recorder.overruns], [[], []]);
  });

  for (const receiveBuffer of [4096, 8 * 1024 * 1024]) {
    test(`lost notifications are an overrun, buffer ${receiveBuffer}`, async (t) => {
      const small = new Recorder({ receiveBuffer });
      t.after(() => small.monitor.close());
      const batch = "rule add pref 5\nrule del pref 5\n".repeat(20_000);
      // Blocks the event loop meanwhile: nothing reads the socket.
      const seen = await small.after(() => execFileSync("ip", ["-batch", "-"], { input: batch }));
      assert.deepEqual(small.overruns, ["ENOBUFS"]);
      assert.ok(seen.length < 40_000);
      const next = await small.after(() => ip("rule add pref 6"));
      assert.deepEqual(next, ["rule 6"], "and listening goes on");
    });
  }

  test("with room enough nothing is lost in a burst", async () => {
    const rounds = 500;
    const seen = await recorder.after(() => {
      const child = spawn("ip", ["-batch", "-"], { stdio: ["pipe", "inherit", "inherit"] });
      child.stdin.end("rule add pref 5\nrule del pref 5\n".repeat(rounds));
    }, 1500);
    assert.deepEqual(seen, Array.from({ length: rounds }, () => ["rule 5", "rule-gone 5"]).flat());
    assert.deepEqual(recorder.overruns, []);
  });
}
