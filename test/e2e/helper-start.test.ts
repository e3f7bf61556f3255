// With which privileges the helper serves, and how it comes by them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { nodeFlagsOf } from "../lab/confinement.js";
import { run } from "../lab/run.js";
import { capabilitiesOf, HelperRig, until } from "./helper-rig.js";

const TWO = "0000000000003000";
const EXACTLY_TWO = { CapInh: TWO, CapPrm: TWO, CapEff: TWO, CapBnd: TWO, CapAmb: TWO };
const NOBODY = 65_534;
const PROGRAM = ["dist/mnm-helper", "--peer-uid", "0"];

describe("capabilities", () => {
  const rig = new HelperRig();
  before(() => rig.start("--peer-uid", "0"));
  after(() => rig.close());

  const two = "-all,+net_admin,+net_raw";
  const sets = (changes: Readonly<Record<string, string>> = {}) =>
    Object.entries({ bounding: two, inh: two, ambient: two, ...changes }).map(
      ([set, caps]) => `--${set}-${set === "bounding" ? "set" : "caps"}=${caps}`,
    );
  const user = ["--reuid=65533", "--regid=65533", "--clear-groups"];
  const socket = () => ["--socket", `${rig.directory}/other.sock`];
  const started = (privileges: readonly string[], ...args: readonly string[]) =>
    run("ip", [
      // A helper that serves where it must not would keep us for ever.
      ...["netns", "exec", rig.namespace, "timeout", "30", "setpriv", ...privileges],
      ...[...PROGRAM, ...socket(), ...args],
    ]);

  const cases: [string, readonly string[], RegExp][] = [
    [
      "without CAP_NET_ADMIN",
      [
        ...user,
        ...sets({ bounding: "-all,+net_raw", inh: "-all,+net_raw", ambient: "-all,+net_raw" }),
      ],
      /needs CAP_NET_ADMIN, but does not hold it; start it by systemd, or .* --drop-to USER$/,
    ],
    ["by root, who holds all", [], /holds \d+ capabilities .* \(in CapPrm, CapEff, CapBnd\)/],
    [
      "with one more in the bounding set",
      [...user, ...sets({ bounding: `${two},+net_bind_service` })],
      /holds capability 10 that it must not have \(in CapBnd\); .*--allow-excess-capabilities$/,
    ],
    [
      "with one more in all sets",
      [
        ...user,
        ...sets({ bounding: `${two},+chown`, inh: `${two},+chown`, ambient: `${two},+chown` }),
      ],
      /holds capability 0 .* \(in CapInh, CapPrm, CapEff, CapBnd, CapAmb\)/,
    ],
    [
      "with one more in the inheritable set",
      [...user, ...sets({ bounding: `${two},+chown`, inh: `${two},+chown` })],
      /\(in CapInh, CapBnd\)/,
    ],
  ];
  for (const [name, privileges, sentence] of cases) {
    test(`does not serve ${name}`, async () => {
      const { code, stderr } = await started(privileges);
      assert.deepEqual([code, stderr.split("\n").length], [77, 2], stderr);
      assert.match(stderr.trim(), sentence);
    });
  }

  test("serves with more when it is told so, and warns", async () => {
    const argv = [...PROGRAM, ...socket(), "--allow-excess-capabilities"];
    const root = rig.spawn(rig.namespace, ...argv);
    let log = "";
    root.stderr?.on("data", (text) => {
      log += text;
    });
    await until(() => log.includes('"Listening"'));
    assert.match(log, /"warn".*MORE CAPABILITIES.*"capability 21"/);
  });

  test("--self-check says what it holds, and that it would serve", async () => {
    const { code, stdout } = await started([...user, ...sets(), "--no-new-privs"], "--self-check");
    assert.equal(code, 0, stdout);
    const said = new Map(stdout.split("\n").map((line) => [line.split(" ")[0], line.slice(15)]));
    for (const set of Object.keys(EXACTLY_TWO)) {
      assert.equal(said.get(set), "CAP_NET_ADMIN CAP_NET_RAW");
    }
    assert.equal(said.get("uid"), "65533, effective 65533");
    assert.equal(said.get("gid"), "65533, groups none");
    assert.equal(said.get("NoNewPrivs"), "yes");
    assert.equal(said.get("Seccomp"), "off");
    assert.match(said.get("configuration") ?? "", /defaults; links \*; peer uid 0$/);
    // The opinion of libcap-ng, which is another program's.
    assert.match(said.get("pscap") ?? "", /net_admin, net_raw/);
    assert.equal(said.get("captest"), "Child Effective: net_admin, net_raw");
    assert.equal(said.get("result"), "fit to serve");
  });

  test("--self-check says what is wrong: 77 for capabilities, 78 for the configuration", async () => {
    const excess = await started([], "--self-check");
    assert.equal(excess.code, 77);
    assert.match(excess.stdout, /^CapEff +CAP_NET_ADMIN CAP_NET_RAW and \d+ others$/m);
    assert.match(excess.stdout, /^result +The helper holds \d+ capabilities/m);
    assert.equal((await started([], "--self-check", "--allow-excess-capabilities")).code, 0);
    const config = ["--self-check", "--config", "/nonexistent"];
    const unfit = await started([...user, ...sets()], ...config);
    assert.equal(unfit.code, 78);
    assert.match(unfit.stdout, /^configuration +Cannot read \/nonexistent: ENOENT$/m);
    assert.match(unfit.stdout, /^NoNewPrivs +no$/m);
  });
});

describe("--drop-to", () => {
  const rig = new HelperRig();
  before(async () => {
    await rig.addNamespace(rig.namespace);
    // nobody's, for its socket.
    await run("chown", [`${NOBODY}`, rig.directory]);
  });
  after(() => rig.close());

  // Tools that are not installed: in the mount namespace that `ip netns exec` makes.
  const without = (...tools: readonly string[]) => {
    const hide = tools.map((tool) => `mount --bind /dev/null "$(command -v ${tool})"`);
    return ["sh", "-euc", [...hide, 'exec "$@"'].join("\n"), "sh"];
  };

  for (const [tool, prefix] of [
    ["setpriv", []],
    ["capsh", without("setpriv")],
  ] as const) {
    test(`begins anew by ${tool} as another user with the two, and with the unit's flags for Node`, async () => {
      const socket = `${rig.directory}/${tool}.sock`;
      const options = ["--drop-to", "nobody", "--socket", socket];
      const helper = rig.spawn(rig.namespace, ...prefix, ...PROGRAM, ...options);
      let log = "";
      helper.stderr?.on("data", (text) => {
        log += text;
      });
      await until(() => log.includes('"Listening"') || helper.exitCode !== null);
      // The same process: its parent, such as systemd, sees nothing of the change.
      const pid = helper.pid ?? 0;
      assert.deepEqual(capabilitiesOf(pid), EXACTLY_TWO, log);
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      const id = [NOBODY, NOBODY, NOBODY, NOBODY].join("\t");
      assert.match(status, new RegExp(`^Uid:\\t${id}$`, "m"));
      assert.match(status, new RegExp(`^Gid:\\t${id}$`, "m"));
      assert.match(status, /^Groups:\t(65534 ?)?$/m);
      assert.match(status, /^NoNewPrivs:\t1$/m);
      const flags = nodeFlagsOf("mnm-helper");
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      assert.deepEqual(command.slice(0, flags.length + 1), [process.execPath, ...flags]);
      assert.deepEqual(command.slice(-5, -1), [...PROGRAM.slice(1), "--socket", socket]);
    });
  }

  test("together with --self-check says so of the process that would serve", async () => {
    const argv = [...PROGRAM, "--self-check", "--drop-to=nobody"];
    const { code, stdout } = await run("ip", ["netns", "exec", rig.namespace, ...argv]);
    assert.equal(code, 0, stdout);
    assert.match(stdout, new RegExp(`^uid +${NOBODY}, effective ${NOBODY}$`, "m"));
    assert.match(stdout, /^NoNewPrivs +yes$/m);
    assert.match(stdout, /^pscap .*net_admin, net_raw/m);
    assert.match(stdout, /^result +fit to serve$/m);
  });

  test("refuses what it cannot do, in a sentence", async () => {
    const unprivileged = ["setpriv", "--reuid=65533", "--clear-groups", ...PROGRAM];
    const cases: [readonly string[], number, RegExp][] = [
      [
        [...PROGRAM, "--drop-to", "no-such-user"],
        2,
        /--drop-to must be a user .* not no-such-user/,
      ],
      [[...PROGRAM, "--drop-to"], 2, /--drop-to must name a user/],
      [[...PROGRAM, "--drop-to=.*"], 2, /--drop-to must be a user .* not \.\*/],
      [[...PROGRAM, "--drop-to", "root"], 2, /other than root, not root/],
      [[...unprivileged, "--drop-to", "nobody"], 77, /Only root can use --drop-to/],
      [
        [...without("setpriv", "capsh"), ...PROGRAM, "--drop-to", "nobody"],
        77,
        /Neither setpriv .* nor capsh .* is installed/,
      ],
    ];
    for (const [argv, code, sentence] of cases) {
      const ended = await run("ip", ["netns", "exec", rig.namespace, ...argv]);
      assert.deepEqual([ended.code, ended.stderr.split("\n").length], [code, 2], ended.stderr);
      assert.match(ended.stderr, sentence);
    }
  });
});
