import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { onDisposableMachine } from "../lab/disposable-machine.js";
import { must, run } from "../lab/run.js";
import { build, PROGRAMS, scratchFolder, VERSION, versions } from "./package-rig.js";

const scratch = scratchFolder();
let tarball: string;
let folder: string;

before(async () => {
  tarball = await build("tarball", "--output", scratch.path);
  await must("tar", ["xzf", tarball, "-C", scratch.path]);
  folder = tarball.slice(0, -".tar.gz".length);
});
after(() => scratch[Symbol.dispose]());

async function installer(
  place: string,
  settings: Readonly<Record<string, string>>,
  ...args: readonly string[]
) {
  const env = { ...process.env, NODE: process.execPath, ...settings };
  return await run("sh", [join(place, "install.sh"), ...args], { env });
}

describe("the tarball", () => {
  test("two builds are the same, byte for byte", async () => {
    const again = await build("tarball", "--output", join(scratch.path, "again"));
    assert.ok(readFileSync(again).equals(readFileSync(tarball)));
  });

  test("installs below DESTDIR, again, and leaves nothing when it is purged", async () => {
    const root = join(scratch.path, "root");
    const lib = join(root, "usr/local/lib/mnm");
    assert.equal((await installer(folder, { DESTDIR: root })).stderr, "");
    const first = filesBelow(root);
    assert.deepEqual(
      await versions(lib),
      PROGRAMS.map((name) => `${name} ${VERSION}`),
    );
    const config = join(root, "etc/mnm/mnm.yaml");
    writeFileSync(config, "# mine\n");
    // What the version before had.
    writeFileSync(join(lib, "old.js"), "");
    const manifest = join(lib, "installed-files");
    writeFileSync(manifest, `${readFileSync(manifest, "utf8")}/usr/local/lib/mnm/old.js\n`);
    assert.equal((await installer(folder, { DESTDIR: root })).stderr, "");
    assert.deepEqual(filesBelow(root), first);
    assert.equal(readFileSync(config, "utf8"), "# mine\n");

    assert.equal((await installer(lib, { DESTDIR: root }, "--uninstall")).stderr, "");
    assert.deepEqual(filesBelow(root), ["etc", "etc/mnm", "etc/mnm/mnm.yaml"]);
    await installer(folder, { DESTDIR: root });
    assert.equal((await installer(lib, { DESTDIR: root }, "--purge")).stderr, "");
    assert.deepEqual(
      filesBelow(root).filter((path) => path !== "etc"),
      [],
    );
  });

  test("units name the prefix and the Node that was found", async () => {
    const root = join(scratch.path, "elsewhere");
    await installer(folder, { DESTDIR: root, PREFIX: "/opt/mnm" });
    const units = join(root, "etc/systemd/system");
    for (const name of readdirSync(units)) {
      const text = readFileSync(join(units, name), "utf8");
      assert.doesNotMatch(text, /\/usr\/lib\/mnm/, name);
      for (const [, node] of text.matchAll(/^Exec\w+=(\S+node) /gm)) {
        assert.equal(node, process.execPath);
      }
    }
    const helper = readFileSync(join(units, "mnm-helper.service"), "utf8");
    assert.match(helper, /^ExecPaths=.* \/opt\/mnm\/lib\/mnm$/m);
    assert.ok(existsSync(join(root, "opt/mnm/lib/mnm/mnm-helper.js")));
  });

  const refusals = [
    { name: "an old Node", preload: "version(`20.18.3`)", want: /20\.18\.3; 20\.19 is needed/ },
    { name: "a Node for something else", preload: "arch(`mips`)", want: /Node is for mips/ },
    { name: "a Node for musl", preload: "musl()", want: /needs glibc/ },
  ];
  for (const { name, preload, want } of refusals) {
    test(`does not install beside ${name}`, async () => {
      const module = join(scratch.path, "preload.cjs");
      writeFileSync(module, `${PRETENCES}\n${preload};\n`);
      const node = join(scratch.path, "node");
      const shell = `#!/bin/sh\nexec ${process.execPath} -r ${module} "$@"\n`;
      writeFileSync(node, shell, { mode: 0o755 });
      const root = join(scratch.path, "refused");
      const { code, stderr } = await installer(folder, { DESTDIR: root, NODE: node });
      assert.equal(code, 1);
      assert.match(stderr, want);
      assert.deepEqual(existsSync(root) ? filesBelow(root) : [], []);
    });
  }

  test("installs as root for good, with users and code caches, and can be purged", async () => {
    const script = `
      cp -r "$1" /from
      touch /before
      NODE=/usr/bin/node /from/install.sh >/dev/null
      NODE=/usr/bin/node /from/install.sh >/dev/null
      echo $(getent passwd mnm mnm-helper | cut -d: -f1) $(getent group mnm-admin | cut -d: -f1)
      echo $(cd /usr/local/lib/mnm && ls *.cache)
      mnmctl completion bash | head -n 1
      /usr/local/lib/mnm/install.sh --purge
      find /usr /etc -xdev -path '*mnm*' -newer /before`;
    const { stdout, stderr } = await onDisposableMachine(script, [folder]);
    assert.equal(
      stdout,
      "mnm mnm-helper mnm-admin\nmnm-controller.cache mnm-helper.cache mnmctl.cache\n" +
        "# bash completion for mnmctl. Made by: mnmctl completion bash\n",
      stderr,
    );
  });
});

/** What a Node of another kind would say of itself. */
const PRETENCES = `
const version = (node) => Object.defineProperty(process, "versions", { value: { ...process.versions, node } });
const arch = (value) => Object.defineProperty(process, "arch", { value });
const musl = () => { process.report.getReport = () => ({ header: {} }); };
`;

function filesBelow(root: string): readonly string[] {
  return readdirSync(root, { recursive: true, encoding: "utf8" }).toSorted();
}
