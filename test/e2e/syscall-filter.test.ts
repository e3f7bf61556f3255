import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { allowedCalls, confine, type Denial, limitsOf, nodeFlagsOf } from "../lab/confinement.js";
import { run } from "../lab/run.js";
import { apply, HELPER_UID, HelperRig, hello, until } from "./helper-rig.js";
import { Scenario } from "./scenario.js";

const PROGRAMS = ["mnm-helper", "mnm-controller"] as const;

/** ENOANO, which no call gives by itself: whoever says it is the filter. */
const BY_FILTER = 55;

const PROBE = fileURLToPath(new URL("./syscall-probe.js", import.meta.url));

describe("allowedCalls()", () => {
  const groups = new Map([
    ["@default", ["exit", "mmap"]],
    ["@file", ["open", "unlink", "@sync"]],
    ["@sync", ["fsync"]],
  ]);
  const cases: readonly [string, readonly string[], readonly string[]][] = [
    ["a line adds its calls to the default ones", ["read"], ["exit", "mmap", "read"]],
    ["a group has the groups in it", ["@file"], ["exit", "fsync", "mmap", "open", "unlink"]],
    ["~ takes away", ["@file", "~unlink @sync"], ["exit", "mmap", "open"]],
    ["a later line gives back", ["@file", "~@file", "open"], ["exit", "mmap", "open"]],
    ["~ takes away default ones, too", ["read", "~mmap"], ["exit", "read"]],
  ];
  for (const [name, lines, want] of cases) {
    test(name, () => assert.deepEqual([...allowedCalls(lines, groups)].toSorted(), want));
  }

  test("a group that systemd does not know is no empty one", () => {
    assert.throws(() => allowedCalls(["@fiel"], groups), /@fiel/);
  });
});

describe("the system call filters of the units", () => {
  /** Runs the probe, as root with every capability, so that nothing but the filter is in its way. */
  async function probe(confinement: readonly string[], flags: readonly string[]) {
    const command = ["--no-new-privs", ...confinement, process.execPath, ...flags, PROBE];
    const { code, stdout, stderr } = await run("setpriv", command);
    assert.equal(code, 0, stderr);
    const outcomes: Readonly<Record<string, number>> = JSON.parse(stdout);
    return new Map(Object.entries(outcomes));
  }

  /** What each program is let do of what the probe tries. */
  const LET = {
    "mnm-helper": ["IPv4 socket", "packet socket"],
    // It is compiled as it runs.
    "mnm-controller": ["memory to write and execute"],
  };

  for (const program of PROGRAMS) {
    test(`${program}: what it never does is denied`, async () => {
      const limits = confine(limitsOf(program), "errno");
      const outcomes = await probe(limits, nodeFlagsOf(program));
      assert.ok(outcomes.size > 25);
      const let_ = [...outcomes].filter(([, errno]) => errno !== BY_FILTER).map(([name]) => name);
      assert.deepEqual(let_, LET[program]);
    });

    test(`${program}: of these calls every one is there to be denied`, async () => {
      const outcomes = await probe([], nodeFlagsOf(program));
      assert.deepEqual(
        [...outcomes.values()].filter((errno) => errno === BY_FILTER),
        [],
      );
    });

    test(`${program}: under test, who only tries is killed`, async () => {
      const started = async (denial: Denial) => {
        const script = 'require("node:child_process").spawnSync("/bin/true")';
        const node = [process.execPath, ...nodeFlagsOf(program), "-e", script];
        return await run("setpriv", [
          "--no-new-privs",
          ...confine(limitsOf(program), denial),
          ...node,
        ]);
      };
      assert.equal((await started("errno")).code, 0);
      assert.notEqual((await started("kill")).code, 0);
    });
  }
});

describe("programs under the filters of their units", () => {
  // What is said of the two here is so for all tests of whole programs that use test/lab or a
  // HelperRig: each of them shows that the unit allows what the program needs.
  test("the lab starts both under two filters, after which there is no way to more", async () => {
    await using scenario = await Scenario.start({ uplinks: 1 });
    for (const { pid } of [scenario.helper, scenario.controller]) {
      assert.deepEqual(seccompOf(pid), { mode: "2", filters: "2", noNewPrivileges: "1" });
    }
    assert.equal(await scenario.lab.whoami({ device: "wan0" }), 0);
  });

  const rig = new HelperRig();
  before(() => rig.addNamespace(rig.namespace));
  after(() => rig.close());

  test("the helper with a socket from systemd needs nothing beyond its unit", async () => {
    const two = "-all,+net_admin,+net_raw";
    const user = [`--reuid=${HELPER_UID}`, `--regid=${HELPER_UID}`, "--clear-groups"];
    const capabilities = ["--bounding-set", "--inh-caps", "--ambient-caps"].map(
      (o) => `${o}=${two}`,
    );
    const helper = [process.execPath, ...nodeFlagsOf("mnm-helper"), "dist/mnm-helper.js"];
    const command = [
      ...["setpriv", ...user, ...capabilities, "--no-new-privs"],
      ...[...confine(limitsOf("mnm-helper")), ...helper, "--peer-uid", "0"],
    ];
    const script = [
      "import os, socket, sys",
      "server = socket.socket(socket.AF_UNIX)",
      "server.bind(sys.argv[1])",
      "server.listen()",
      "os.dup2(server.fileno(), 3)",
      "os.set_inheritable(3, True)",
      'os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))',
      "os.execvp(sys.argv[2], sys.argv[2:])",
    ].join("\n");
    const activated = rig.spawn(
      rig.namespace,
      ...["/usr/bin/python3", "-I", "-c", script, rig.socket, ...command],
    );
    let log = "";
    activated.stderr?.on("data", (text) => {
      log += text;
    });
    const ended = new Promise((resolve) => activated.once("exit", (...how) => resolve(how)));
    await until(() => log.includes('"socket":"systemd"') || activated.exitCode !== null);
    assert.match(log, /"socket":"systemd"/);
    await rig.ip("link", "add", "wan0", "type", "veth", "peer", "name", "far0");
    const client = rig.client();
    await hello(client);
    const value = { link: await rig.link("wan0"), up: true };
    assert.deepEqual(await apply(client, { $case: "putLinkSettings", value }), ["done"]);
    activated.kill("SIGTERM");
    assert.deepEqual(await ended, [0, null], log);
  });
});

function seccompOf(pid: number) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name: string) => new RegExp(`^${name}:\\s*(\\d+)$`, "m").exec(status)?.[1];
  return {
    mode: field("Seccomp"),
    filters: field("Seccomp_filters"),
    noNewPrivileges: field("NoNewPrivs"),
  };
}
