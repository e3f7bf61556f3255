import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { afterEach, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { status as Status } from "@grpc/grpc-js";
import { Fault_Code, LinkState } from "@mnm/proto/network-manager";
import { manPage } from "./render/man-page.js";
import { run } from "./run.js";
import {
  type Answer,
  eventItem,
  FAULT,
  FakeController,
  LINK,
  type Script,
  STATUS,
  type Stream,
} from "./testing/fake-controller.js";
import { Terminal } from "./testing/terminal.js";
import { VERSION } from "./version.js";

let fake: FakeController;

beforeEach(() => {
  fake = new FakeController();
});

afterEach(() => fake.remove());

async function mnmctl(...argv: readonly string[]) {
  const terminal = new Terminal({ env: { MNM_SOCKET: fake.socket } });
  const code = await run(argv, terminal);
  return { code, stdout: terminal.stdout, stderr: terminal.stderr };
}

function answering(method: string, answer: Answer): Script {
  return { unary: { [method]: () => answer } };
}

const USABLE = {
  ...LINK,
  state: LinkState.USABLE,
  metric: 10,
  table: 7701,
  isDefault: true,
  addresses: [{ address: "192.0.2.7/24", ours: true, validSec: 3600 }],
  gateway: "192.0.2.1",
  sinceMs: 60_000n,
};

describe("mnmctl status", () => {
  test("shows the table and says done when a link is usable", async () => {
    const value = { status: { ...STATUS, defaultLink: "eth0", links: [USABLE] } };
    await fake.start(answering("getStatus", { value }));
    assert.deepEqual(await mnmctl("status"), {
      code: 0,
      stdout: `default: eth0   1 uplink                        mnm 0.3.0, up 3 d, helper ok
   LINK  KIND   STATE   METRIC  TABLE  ADDRESS       GATEWAY    LEASE  SINCE
*  eth0  wired  usable      10   7701  192.0.2.7/24  192.0.2.1  -      1 min
`,
      stderr: "",
    });
    assert.equal(fake.requests.length, 1);
  });

  test("says 4 when none is", async () => {
    await fake.start(answering("getStatus", { value: { status: { ...STATUS, links: [LINK] } } }));
    const { code, stdout } = await mnmctl("status");
    assert.equal(code, 4);
    assert.match(stdout, /^default: none {3}no uplink /);
  });

  test("an empty answer is an empty host", async () => {
    await fake.start(answering("getStatus", { value: { status: undefined } }));
    assert.equal((await mnmctl("status")).code, 4);
  });

  test("--json stands before or after", async () => {
    const value = { status: { ...STATUS, defaultLink: "eth0", links: [USABLE] } };
    await fake.start(answering("getStatus", { value }));
    const [after, before] = [await mnmctl("status", "--json"), await mnmctl("--json", "status")];
    assert.deepEqual(before, after);
    const json = JSON.parse(after.stdout);
    assert.equal(json.version, 1);
    assert.equal(json.mnm_version, "0.3.0");
    assert.equal(json.uptime_ms, 259_200_000);
    assert.equal(json.links[0].state, "usable");
    assert.equal(json.links[0].slot, null);
    assert.equal(json.links[0].addresses[0].valid_sec, 3600);
  });

  test("--watch draws again after an event, also of the next controller, until interrupted", async () => {
    let drawn = 0;
    let stream: Stream | undefined;
    const script: Script = {
      unary: {
        getStatus: () => ({ value: { status: { ...STATUS, version: `draw${++drawn}` } } }),
      },
      subscribe: (opened) => {
        stream = opened;
        opened.write({ item: { $case: "synced", value: { instance: "aaaa", sequence: 0n } } });
      },
    };
    await fake.start(script);
    const terminal = new Terminal({ env: { MNM_SOCKET: fake.socket } });
    const done = run(["status", "--watch"], terminal);
    await terminal.until("draw2");
    stream?.write(eventItem(1n));
    await terminal.until("draw3");
    fake.stop();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await fake.start(script);
    await terminal.until("draw4");
    terminal.interrupt();
    assert.equal(await done, 0);
    assert.match(terminal.stderr, /error: .*; waiting for it\n/);
  });
});

describe("mnmctl set-metric", () => {
  const response = {
    oldMetric: 20,
    newMetric: 5,
    swappedWith: "",
    oldDefaultLink: "eth0",
    newDefaultLink: "wlan0",
    changes: ["ip route add …"],
    persisted: false,
  };

  test("says what changed, until when, and where connections go", async () => {
    await fake.start(answering("setMetric", { value: response }));
    const { code, stdout } = await mnmctl("set-metric", "wlan0", "5");
    assert.equal(code, 0);
    assert.equal(
      stdout,
      `wlan0: metric 20 -> 5 (until restart; --persist writes it to the state file)
new connections use wlan0 from now on; existing ones stay on eth0
`,
    );
  });

  test("asks for what the options say", async () => {
    await fake.start(answering("setMetric", { value: { ...response, swappedWith: "eth0" } }));
    const { stdout } = await mnmctl("--json", "set-metric", "--swap", "wlan0", "5", "--persist");
    assert.deepEqual(fake.requests[0]?.request, {
      link: "wlan0",
      metric: 5,
      swap: true,
      persist: true,
    });
    assert.equal(JSON.parse(stdout).swapped_with, "eth0");
  });

  test("a taken metric is refused in one sentence with the holder", async () => {
    const fault = {
      ...FAULT,
      code: Fault_Code.METRIC_TAKEN,
      text: "metric 10 belongs to eth0",
      holder: "eth0",
    };
    await fake.start(
      answering("setMetric", {
        refuse: { code: Status.ALREADY_EXISTS, details: fault.text, fault },
      }),
    );
    assert.deepEqual(await mnmctl("set-metric", "wlan0", "10"), {
      code: 1,
      stdout: "",
      stderr: "error: metric 10 belongs to eth0; choose another, or exchange them with --swap\n",
    });
    const { stdout } = await mnmctl("set-metric", "wlan0", "10", "--json");
    const { error } = JSON.parse(stdout);
    assert.equal(error.code, "metric_taken");
    assert.equal(error.holder, "eth0");
  });

  for (const number of ["0", "10000", "x", "1.5", "010", "٣"]) {
    test(`metric ${number} is wrong usage, and nobody is asked`, async () => {
      const { code, stderr } = await mnmctl("set-metric", "wlan0", number);
      assert.equal(code, 2);
      assert.equal(
        stderr,
        `error: metric ${number} is not possible; choose a whole number from 1 to 9999\n`,
      );
    });
  }
});

describe("mnmctl link, leases, renew, reload, version", () => {
  const lease = {
    address: "192.0.2.7/24",
    server: "192.0.2.1",
    gateways: ["192.0.2.1"],
    dnsServers: ["192.0.2.53"],
    domain: "",
    leaseSec: 7200,
    t1InSec: 3000,
    t2InSec: 6000,
    expiresInSec: 7000,
    mtu: 0,
    routes: [],
    ntpServers: [],
    searchDomains: [],
    hostName: "",
    captivePortal: "",
  };
  const leased = { ...USABLE, lease, dhcp: { state: "bound", counters: { "sent-discover": 1n } } };

  test("link shows all that is known", async () => {
    await fake.start(answering("getLink", { value: { link: leased } }));
    const { stdout } = await mnmctl("link", "eth0");
    assert.deepEqual(fake.requests[0]?.request, { link: "eth0" });
    assert.match(stdout, /^eth0: wired, usable for 1 min, the default\n/);
    assert.match(
      stdout,
      /\n {2}lease {7}192.0.2.7\/24 from 192.0.2.1, 2 h, renews in 50 min, rebinds in 1 h, ends in 1 h\n/,
    );
    assert.match(stdout, /\n {2}messages {4}sent-discover 1\n/);
  });

  test("link without a name shows every link", async () => {
    await fake.start(answering("listLinks", { value: { links: [LINK, leased] } }));
    const { stdout } = await mnmctl("link");
    assert.match(stdout, /^eth0: wired, ignored\n(.+\n)+\neth0: wired, usable for 1 min/);
    assert.equal(JSON.parse((await mnmctl("link", "--json")).stdout).links.length, 2);
  });

  test("an unknown link is refused in the controller's words", async () => {
    const fault = {
      ...FAULT,
      code: Fault_Code.NO_SUCH_LINK,
      text: "No link is called wan9",
      hint: "there are eth0 and wlan0",
    };
    await fake.start(
      answering("getLink", { refuse: { code: Status.NOT_FOUND, details: fault.text, fault } }),
    );
    const { code, stderr } = await mnmctl("link", "wan9");
    assert.equal(code, 1);
    assert.equal(stderr, "error: No link is called wan9; there are eth0 and wlan0\n");
  });

  test("leases shows those that exist", async () => {
    await fake.start(answering("listLinks", { value: { links: [LINK, leased] } }));
    assert.equal(
      (await mnmctl("leases")).stdout,
      `LINK  ADDRESS       SERVER     GATEWAY    STATE  RENEWS  REBINDS  ENDS  DNS
eth0  192.0.2.7/24  192.0.2.1  192.0.2.1  bound  50 min  1 h      1 h   192.0.2.53
`,
    );
    const json = JSON.parse((await mnmctl("leases", "--json")).stdout);
    assert.equal(json.leases[0].link, "eth0");
    assert.equal(json.leases[0].t1_in_sec, 3000);
  });

  test("renew says that it has begun", async () => {
    await fake.start(answering("renew", { value: {} }));
    const { stdout } = await mnmctl("renew", "eth0");
    assert.equal(stdout, "eth0: renewing; mnmctl events shows how it ends\n");
  });

  const givenUp = { address: "192.0.2.7/24", server: "192.0.2.1", serverTold: true };
  const untold = { ...givenUp, serverTold: false };
  const farewells = [
    {
      name: "release tells what was given back, and how to undo it",
      method: "release",
      givenUp,
      want: "eth0: gave 192.0.2.7/24 back to 192.0.2.1\nit stays released; mnmctl reconnect eth0 brings it back\n",
    },
    {
      name: "release without a lease says so",
      method: "release",
      givenUp: undefined,
      want: "eth0: there was no lease to give back\nit stays released; mnmctl reconnect eth0 brings it back\n",
    },
    {
      name: "release that the server cannot hear says so",
      method: "release",
      givenUp: untold,
      want: "eth0: gave 192.0.2.7/24 up, but could not tell 192.0.2.1, where it stays taken until its lease ends\nit stays released; mnmctl reconnect eth0 brings it back\n",
    },
    {
      name: "reconnect tells what was given back, and what comes",
      method: "reconnect",
      givenUp,
      want: "eth0: gave 192.0.2.7/24 back to 192.0.2.1; asking for a new lease; mnmctl events shows how it ends\n",
    },
    {
      name: "reconnect without a lease only asks",
      method: "reconnect",
      givenUp: undefined,
      want: "eth0: asking for a new lease; mnmctl events shows how it ends\n",
    },
  ] as const;
  for (const { name, method, givenUp: lease, want } of farewells) {
    test(name, async () => {
      await fake.start(answering(method, { value: { givenUp: lease } }));
      assert.deepEqual(await mnmctl(method, "eth0"), { code: 0, stdout: want, stderr: "" });
      assert.deepEqual(fake.requests[0]?.request, { link: "eth0" });
      const { stdout } = await mnmctl(method, "eth0", "--json");
      const told =
        lease === undefined
          ? null
          : { address: lease.address, server: lease.server, server_told: lease.serverTold };
      assert.deepEqual(JSON.parse(stdout), { version: 1, link: "eth0", given_up: told });
    });
  }

  test("link and status say that a link is released, and how to undo it", async () => {
    const released = { ...LINK, state: LinkState.RELEASED, metric: 10, table: 7701 };
    const text = "released (mnmctl reconnect eth0 brings it back)";
    const host = { ...STATUS, links: [released], warnings: [{ link: "eth0", text }] };
    await fake.start({
      unary: {
        getLink: () => ({ value: { link: released } }),
        getStatus: () => ({ value: { status: host } }),
      },
    });
    const { stdout } = await mnmctl("link", "eth0");
    assert.match(
      stdout,
      /^eth0: wired, released \(mnmctl reconnect eth0 brings it back\) for 0 s\n/,
    );
    const status = await mnmctl("status");
    assert.match(status.stdout, / eth0 {2}wired {2}released {6}10 {3}7701 /);
    assert.match(status.stdout, /\n! eth0: released \(mnmctl reconnect eth0 brings it back\)\n/);
    assert.equal(status.code, 4);
  });

  test("link shows counters by what they count, and those that it does not know", async () => {
    const counters = {
      "sent-request": 2n,
      received: 5n,
      "refused-wrong-xid": 3n,
      "refused-bad-cookie": 1n,
      "arp-sent-probe": 3n,
      "conflict-defended": 1n,
      "of-a-newer-controller": 7n,
    };
    await fake.start(
      answering("getLink", { value: { link: { ...leased, dhcp: { state: "bound", counters } } } }),
    );
    const { stdout } = await mnmctl("link", "eth0");
    const shown = stdout.slice(stdout.indexOf("  messages"));
    assert.equal(
      shown,
      `  messages    received 5, sent-request 2
  refused     refused-bad-cookie 1, refused-wrong-xid 3
  arp         arp-sent-probe 3
  conflicts   conflict-defended 1
  counters    of-a-newer-controller 7
`,
    );
    const json = JSON.parse((await mnmctl("link", "eth0", "--json")).stdout);
    assert.equal(json.links[0].dhcp.counters["of-a-newer-controller"], 7);
  });

  test("link says for what the DHCP client waits", async () => {
    const wait = { cause: "nak", address: "192.0.2.7", by: "192.0.2.1", remainingMs: 6_000n };
    for (const [cause, words] of [
      ["nak", "NAK from 192.0.2.1 to 192.0.2.7"],
      ["unique", "192.0.2.1 has 192.0.2.7"],
      ["conflict", "192.0.2.1 has 192.0.2.7"],
      ["unusable", "unusable: 192.0.2.7 of 192.0.2.1"],
    ] as const) {
      const dhcp = { state: "init", counters: {}, wait: { ...wait, cause } };
      await fake.start(answering("getLink", { value: { link: { ...LINK, dhcp } } }));
      const { stdout } = await mnmctl("link", "eth0");
      assert.ok(stdout.includes(`  dhcp        init, asks again in 6 s (${words})\n`), stdout);
      const json = JSON.parse((await mnmctl("link", "eth0", "--json")).stdout);
      const { remainingMs, ...same } = { ...wait, cause };
      assert.deepEqual(json.links[0].dhcp.wait, { ...same, remaining_ms: Number(remainingMs) });
      await fake.stop();
    }
  });

  test("reload says what is in force and what was dropped", async () => {
    const value = { file: "/etc/mnm/mnm.yaml", dropped: ["metric 5 of wlan0 is dropped"] };
    await fake.start(answering("reload", { value }));
    const { stdout } = await mnmctl("reload");
    assert.equal(stdout, "/etc/mnm/mnm.yaml is in force\n! metric 5 of wlan0 is dropped\n");
  });

  test("reload of a bad file shows every problem", async () => {
    const problem = { file: "f.yaml", line: 2, column: 3, value: "x", text: "Unknown key x" };
    const fault = {
      ...FAULT,
      code: Fault_Code.BAD_CONFIG,
      text: "f.yaml has 1 problem",
      problems: [problem],
    };
    await fake.start(
      answering("reload", { refuse: { code: Status.INVALID_ARGUMENT, details: "", fault } }),
    );
    assert.deepEqual(await mnmctl("reload"), {
      code: 1,
      stdout: "",
      stderr:
        "error: f.yaml has 1 problem; correct it and reload again; the old configuration is in force\nf.yaml:2:3: Unknown key x\n",
    });
  });

  test("version works with and without a controller", async () => {
    const without = await mnmctl("version");
    assert.equal(without.code, 0);
    assert.match(
      without.stdout,
      new RegExp(`^mnmctl {5}${VERSION}\ncontroller unknown: there is no`),
    );
    await fake.start(answering("getStatus", { value: { status: STATUS } }));
    assert.deepEqual(await mnmctl("--version"), await mnmctl("version"));
    assert.equal(
      (await mnmctl("version")).stdout,
      `mnmctl     ${VERSION}\ncontroller 0.3.0\nhelper     0.3.0\n`,
    );
  });
});

describe("mnmctl check", () => {
  const example = fileURLToPath(new URL("../../examples/mnm.yaml", import.meta.url));

  test("tells a good file in other words", async () => {
    const { code, stdout } = await mnmctl("check", example);
    assert.equal(code, 0);
    assert.match(
      stdout,
      /no problems\n {2}eth0 {9}DHCP, metric 10\n {2}lan0 {9}static 198\.51\.100\.2\/24, via 198\.51\.100\.1, metric 20\n/,
    );
    assert.match(
      stdout,
      /\n {2}eth7 {9}DHCP with each address probed before it is used, automatic/,
    );
  });

  test("prints every problem of a bad one and says 1", async () => {
    const file = `${fake.directory}/bad.yaml`;
    writeFileSync(file, "links:\n  eth0: { metrik: 1 }\nunique: yes\n");
    assert.deepEqual(await mnmctl("check", file), {
      code: 1,
      stdout: `${file}:2:11: Unknown key metrik; did you mean metric?\n${file}:3:9: unique yes is not true or false\n`,
      stderr: `error: ${file} has 2 problems; correct it before using it\n`,
    });
    const json = JSON.parse((await mnmctl("check", file, "--json")).stdout);
    assert.equal(json.ok, false);
    assert.deepEqual(json.problems[1], {
      file,
      line: 3,
      column: 9,
      value: "yes",
      text: "unique yes is not true or false",
    });
  });

  test("a missing file and a directory are said to be so", async () => {
    const missing = await mnmctl("check", `${fake.directory}/none`);
    assert.equal(missing.code, 1);
    assert.match(
      missing.stderr,
      /^error: cannot read .*none: there is no such file; check the path\n$/,
    );
    assert.match((await mnmctl("check", fake.directory)).stderr, /it is a directory/);
  });
});

describe("a controller that does not answer well", () => {
  const rows: readonly {
    readonly name: string;
    readonly prepare: () => Promise<void> | void;
    readonly code: number;
    readonly stderr: RegExp;
  }[] = [
    {
      name: "no socket",
      prepare: () => undefined,
      code: 3,
      stderr:
        /^error: there is no controller at .*; start mnm-controller, or name its socket with --socket\n$/,
    },
    {
      name: "a file that is no socket",
      prepare: () => writeFileSync(fake.socket, ""),
      code: 3,
      stderr: /^error: .* is not a socket; name the controller's with --socket\n$/,
    },
    {
      name: "a socket whose program was killed",
      prepare: async () => {
        const code = `require("net").createServer().listen(${JSON.stringify(fake.socket)}, () => process.kill(process.pid, "SIGKILL"))`;
        await promisify(execFile)(process.execPath, ["-e", code]).catch(() => undefined);
      },
      code: 3,
      stderr:
        /^error: nobody listens at .*; the controller has ended, start mnm-controller again\n$/,
    },
    {
      name: "a controller that is only for others",
      prepare: () =>
        fake.start(
          answering("getStatus", {
            refuse: { code: Status.PERMISSION_DENIED, details: "you may only read" },
          }),
        ),
      code: 1,
      stderr: /^error: you may only read; run mnmctl as root or as a member of group mnm-admin\n$/,
    },
    {
      name: "an older controller",
      prepare: () =>
        fake.start(answering("getStatus", { refuse: { code: Status.UNIMPLEMENTED, details: "" } })),
      code: 1,
      stderr: /^error: the controller does not know this request; it is older than mnmctl, .*\n$/,
    },
    {
      name: "a fault whose bytes make no sense, and text that would command the terminal",
      prepare: () =>
        fake.start(
          answering("getStatus", {
            refuse: { code: Status.INTERNAL, details: "oh \u009b31m no" },
          }),
        ),
      code: 1,
      stderr: /^error: oh .*\(INTERNAL\); the controller's log may say more\n$/,
    },
    {
      name: "a controller that breaks the connection",
      prepare: async () => {
        const server = createServer((socket) => socket.destroy()).listen(fake.socket);
        server.unref();
        await new Promise((resolve) => server.once("listening", resolve));
      },
      code: 3,
      stderr: /^error: the connection to .* was lost .*\n$/,
    },
    {
      name: "a controller that says nothing for 5 seconds",
      prepare: () => fake.start({}),
      code: 3,
      stderr: /^error: the controller at .* did not answer within 5 s; its log may say why\n$/,
    },
  ];
  for (const { name, prepare, code, stderr } of rows) {
    test(name, async () => {
      await prepare();
      const result = await mnmctl("status");
      assert.match(result.stderr, stderr);
      assert.equal(result.stderr.split("\n").length, 2);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
      assert.doesNotMatch(result.stderr, /[\x00-\x09\x0b-\x1f\x7f-\x9f]|at .*\.js:/);
      assert.equal(result.code, code);
    });
  }

  test("a socket that this user may not use", { skip: process.getuid?.() !== 0 }, async () => {
    const closed = `${fake.directory}/closed`;
    mkdirSync(closed, { mode: 0o700 });
    chmodSync(fake.directory, 0o755);
    const { fd, path } = { fd: createServer(), path: `${closed}/controller.sock` };
    await new Promise<void>((resolve) => fd.listen(path, resolve));
    // Root may use every socket, so that somebody else has to try.
    const code = `
      process.setuid(65534);
      const { run } = await import(${JSON.stringify(new URL("./run.js", import.meta.url).href)});
      const io = { env: {}, out() {}, err: (text) => process.stdout.write(text), isTerminal: false };
      process.exitCode = await run(["status", "--socket", ${JSON.stringify(path)}], io);`;
    const child = promisify(execFile)(process.execPath, ["--input-type=module", "-e", code]);
    const error = await child.then(
      () => undefined,
      (failure: { readonly code: number; readonly stdout: string }) => failure,
    );
    fd.close();
    assert.equal(error?.code, 3);
    assert.match(
      error?.stdout ?? "",
      /^error: no permission to use .*; run mnmctl as root or as a member of group mnm-admin\n$/,
    );
  });
});

describe("the documents", () => {
  test("docs/man/mnmctl.1 is made from the present table (node scripts/man.mjs)", () => {
    const page = readFileSync(new URL("../../docs/man/mnmctl.1", import.meta.url), "utf8");
    assert.equal(page, manPage(VERSION));
  });

  test("the version is the package's", () => {
    const file = readFileSync(new URL("../package.json", import.meta.url), "utf8");
    assert.equal(JSON.parse(file).version, VERSION);
  });
});
