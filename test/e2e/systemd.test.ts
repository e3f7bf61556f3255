import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { REPOSITORY } from "../lab/identity.js";
import { must, type Output, run } from "../lab/run.js";

const SOURCE = join(REPOSITORY, "systemd");
const UNITS = readdirSync(SOURCE).filter((name) => /\.(service|socket|target)$/.test(name));
const SERVICES = UNITS.filter((name) => name.endsWith(".service"));

/**
 * Ten times the exposure that is put up with, of systemd-analyze(1). What is left: the helper writes to
 * the host's network with its two capabilities; the controller sees who its callers are, and which
 * program fights with it.
 */
const MOST_EXPOSED: Readonly<Record<string, number>> = {
  "mnm-helper.service": 18,
  "mnm-controller.service": 10,
  "mnm-wait-online.service": 2,
};

const missing = (await isThere("systemd-analyze")) ? false : "systemd is not installed";

describe("systemd's own opinion of the units", { skip: missing }, () => {
  let scratch: string;
  before(() => {
    scratch = mkdtempSync(join(tmpdir(), "mnm-units-"));
    cpSync(SOURCE, scratch, { recursive: true });
    // What the checks look for is not installed where tests run. Node itself need not be in
    // /usr/bin here; the tools of this machine stay what they are.
    for (const name of UNITS) {
      const text = readFileSync(join(scratch, name), "utf8");
      writeFileSync(join(scratch, name), text.replaceAll("/usr/bin/node", process.execPath));
    }
  });
  after(() => rmSync(scratch, { recursive: true, force: true }));

  async function verify(): Promise<Output> {
    const files = UNITS.map((name) => join(scratch, name));
    return await run("systemd-analyze", ["verify", "--man=no", ...files]);
  }

  test("verify has nothing to say", async () => {
    const { code, stdout, stderr } = await verify();
    assert.deepEqual({ code, said: stdout + stderr }, { code: 0, said: "" });
  });

  test("verify would say something about a key that does not exist", async () => {
    const file = join(scratch, SERVICES[0] ?? "");
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace("[Service]\n", "[Service]\nProtectEverything=yes\n"));
    try {
      assert.match((await verify()).stderr, /ProtectEverything/);
    } finally {
      writeFileSync(file, text);
    }
  });

  for (const name of SERVICES) {
    test(`${name} is exposed no more than it must be`, async () => {
      const file = join(scratch, name);
      const most = MOST_EXPOSED[name] ?? 0;
      const judge = (threshold: number) =>
        run("systemd-analyze", ["security", "--offline=true", `--threshold=${threshold}`, file]);
      const { code, stdout, stderr } = await judge(most);
      assert.equal(code, 0, stdout);
      assert.equal(stderr, "");
      assert.equal((await judge(most - 1)).code, 1, "it has become safer: lower its threshold");
    });
  }

  test("sysusers makes two users and the group of operators", async () => {
    const root = join(scratch, "root");
    mkdirSync(join(root, "etc"), { recursive: true });
    await must("systemd-sysusers", [`--root=${root}`, join(scratch, "sysusers.d/mnm.conf")]);
    const users = readFileSync(join(root, "etc/passwd"), "utf8");
    assert.match(users, /^mnm:.*nologin$/m);
    assert.match(users, /^mnm-helper:.*nologin$/m);
    assert.match(readFileSync(join(root, "etc/group"), "utf8"), /^mnm-admin:/m);
  });

  test("tmpfiles makes the folder of the configuration", async () => {
    const root = join(scratch, "root");
    const file = join(scratch, "tmpfiles.d/mnm.conf");
    await must("systemd-tmpfiles", ["--create", `--root=${root}`, file]);
    assert.ok(readdirSync(join(root, "etc")).includes("mnm"));
  });
});

describe("the units and the programs agree", () => {
  const read = (name: string) => readFileSync(join(SOURCE, name), "utf8");

  test("each service starts a program that the build makes", () => {
    const started = SERVICES.map((name) => /\/usr\/lib\/mnm\/(\S+)/.exec(read(name))?.[1]);
    assert.deepEqual(started.toSorted(), ["mnm-controller.js", "mnm-helper.js", "mnmctl.js"]);
    const built = readdirSync(join(REPOSITORY, "dist"));
    for (const program of started) assert.ok(built.includes(program ?? ""), program);
  });

  const noFolder = existsSync("/etc/iproute2") ? false : "no /etc/iproute2";
  test("rt_protos.d gives MNM's protocol its name in ip(8)", { skip: noFolder }, async () => {
    const script = [
      "mount -t tmpfs tmpfs /etc/iproute2",
      'cp -r "$1" /etc/iproute2/',
      "ip link set lo up",
      "ip route add 192.0.2.0/24 dev lo proto 77",
      "ip route show 192.0.2.0/24",
    ].join("\n");
    const inside = ["-nm", "sh", "-euc", script, "sh", join(SOURCE, "rt_protos.d")];
    assert.match(await must("unshare", inside), /proto mnm/);
  });
});

async function isThere(command: string): Promise<boolean> {
  return (await run("sh", ["-c", `command -v ${command}`])).code === 0;
}
