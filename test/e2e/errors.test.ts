import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Lab, until } from "../lab/index.js";
import { kernelText } from "./kernel-text.js";

describe("what goes wrong is said in a sentence, and nothing in the kernel changes", () => {
  let lab: Lab;
  let untouched: Awaited<ReturnType<typeof kernelText>>;
  before(async () => {
    lab = await Lab.create({ uplinks: 1 });
    untouched = await kernelText(lab.host);
  });
  after(async () => {
    assert.deepEqual(await kernelText(lab.host), untouched);
    await lab.close();
  });

  const broken = [
    { name: "bad YAML", text: "links: {wan0: {", want: /mnm\.yaml:\d+:\d+: / },
    {
      name: "an unknown key",
      text: "links: { wan0: { metrc: 5 } }",
      want: /mnm\.yaml:1:\d+: .*metric/,
    },
    {
      name: "a bad value",
      text: "links: { wan0: { metric: 0 } }",
      want: /mnm\.yaml:1:\d+: .*1.*9999/,
    },
  ];
  for (const { name, text, want } of broken) {
    test(`a configuration with ${name} refuses to start`, async () => {
      const controller = await lab.startController({ config: text, wait: false });
      const { code } = await controller.exited();
      assert.equal(code, 78);
      assert.match(controller.log(), want);
      assert.match(controller.log(), /nothing was changed/);
      assert.doesNotMatch(controller.log(), /\n\s+at /, "no stack trace");
    });
  }

  test("mnmctl without a controller says so and exits 3", async () => {
    const { code, stderr } = await lab.mnmctl("status");
    assert.equal(code, 3);
    assert.match(stderr, /^error: .*controller.*\n$/);
  });

  test("wrong usage exits 2", async () => {
    const { code, stderr } = await lab.mnmctl("set-metric", "wan0");
    assert.equal(code, 2);
    assert.match(stderr, /^error: /);
  });

  test("check lists every problem and exits 1", async () => {
    lab.launcher.writeConfig("links:\n  wan0: { metrc: 5 }\n  wan1: { metric: 0 }\n");
    const { code, stdout, stderr } = await lab.mnmctl("check", lab.launcher.configFile);
    assert.equal(code, 1);
    assert.match(stdout + stderr, /:2:\d+: .*:3:\d+: /s);
  });

  describe("a controller without a helper", () => {
    before(async () => {
      await lab.startController();
    });

    test("waits without fuss, and status says why nothing happens", async () => {
      const { code, stdout } = await lab.mnmctl("status");
      assert.equal(code, 4, "no usable uplink");
      assert.match(stdout, /helper is not reachable/);
    });

    test("a change is refused with what to do", async () => {
      const { code, stderr } = await lab.mnmctl("set-metric", "wan0", "5");
      assert.equal(code, 1);
      assert.match(
        stderr,
        /^error: the helper is not reachable .*; start mnm-helper; nothing was changed\n$/,
      );
    });

    test("an unknown link is named, with those that exist", async () => {
      const { code, stderr } = await lab.mnmctl("link", "wan7");
      assert.equal(code, 1);
      assert.match(stderr, /^error: no link is named wan7; there are wan0\n$/);
    });

    test("somebody else may read, but not change", async () => {
      const socket = lab.launcher.controllerSocket;
      const as = ["setpriv", "--reuid", "65530", "--regid", "65530", "--clear-groups", "--"];
      const folder = `${lab.directory}/mnmctl`;
      await lab.host.shell(
        `mkdir ${folder}; cp ${process.cwd()}/dist/package.json ${process.cwd()}/dist/mnmctl.* ${folder}; chmod -R a+rX ${folder}`,
      );
      const mnmctl = [process.execPath, `${folder}/mnmctl.js`];
      const read = await lab.host.exec(...as, ...mnmctl, "--socket", socket, "status");
      assert.equal(read.code, 4, read.stderr);
      const change = await lab.host.exec(
        ...as,
        ...mnmctl,
        "--socket",
        socket,
        "set-metric",
        "wan0",
        "5",
      );
      assert.equal(change.code, 1);
      assert.match(
        change.stderr,
        /you may read, but not change anything; become root, or a member of group mnm-admin/,
      );
    });

    test("a socket that may not be entered is told apart from one that is not there", async () => {
      const socket = lab.launcher.controllerSocket;
      await lab.host.shell(`chmod 0600 ${socket}`);
      const as = ["setpriv", "--reuid", "65530", "--regid", "65530", "--clear-groups", "--"];
      const { code, stderr } = await lab.host.exec(
        ...as,
        process.execPath,
        `${lab.directory}/mnmctl/mnmctl.js`,
        "--socket",
        socket,
        "status",
      );
      assert.equal(code, 3);
      assert.match(stderr, /permission/i);
      await lab.host.shell(`chmod 0666 ${socket}`);
    });

    test("a bad file at reload keeps the old one in force and says so in status", async () => {
      lab.launcher.writeConfig("links: { wan0: { metrc: 5 } }\n");
      const { code, stderr } = await lab.mnmctl("reload");
      assert.equal(code, 1);
      assert.match(stderr, /mnm\.yaml:1:\d+/);
      const { stdout } = await lab.mnmctl("status");
      const told = stdout.split("\n").filter((line) => /^!.*(configuration|mnm\.yaml)/.test(line));
      const file = lab.launcher.configFile;
      assert.deepEqual(told, [
        `! the configuration file has 1 problem (mnmctl check ${file} shows it); the one before it stays in force`,
      ]);
      lab.launcher.writeConfig("links: { wan0: {} }\n");
      assert.equal((await lab.mnmctl("reload")).code, 0);
      await until(
        async () => !(await lab.mnmctl("status")).stdout.includes("configuration file has"),
        {
          timeoutMs: 5000,
          what: "a status without the problem",
        },
      );
    });
  });
});
