import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { Culprits } from "./culprits.js";

describe("Culprits", () => {
  const proc = mkdtempSync(join(tmpdir(), "mnm-proc-"));
  after(() => rmSync(proc, { recursive: true }));

  function run(pid: number, comm: string, commandLine = comm): void {
    mkdirSync(`${proc}/${pid}`, { recursive: true });
    writeFileSync(`${proc}/${pid}/comm`, `${comm}\n`);
    writeFileSync(`${proc}/${pid}/cmdline`, commandLine);
  }

  run(1, "systemd");
  run(12, "kworker/0:1", "");
  run(612, "systemd-network");
  run(700, "dhclient");
  run(800, "evil\x1b[2J");
  mkdirSync(`${proc}/self/net`, { recursive: true });
  writeFileSync(
    `${proc}/self/net/netlink`,
    `sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000056a0939b 0   4267225636 00000000 0        0        0     2        0        1038388
00000000ced82217 15  4000000000 00000000 0        0        0     2        0        1037323
`,
  );

  const suspects = ["systemd-networkd", "dhclient"];
  const rows = [
    {
      name: "a running process by its id",
      port: 612,
      want: { kind: "program", name: "systemd-networkd", pid: 612 },
    },
    {
      name: "not what a process would like a terminal to do",
      port: 800,
      want: { kind: "program", name: "evil?[2J", pid: 800 },
    },
    { name: "one that has ended", port: 613, want: { kind: "short-lived", suspects } },
    { name: "never a thread of the kernel", port: 12, want: { kind: "short-lived", suspects } },
    {
      name: "nobody by systemd's port: others have sockets from it",
      port: 1,
      want: { kind: "unknown", suspects },
    },
    {
      name: "nobody by a second socket that is open",
      port: 4_267_225_636,
      want: { kind: "unknown", suspects },
    },
    {
      name: "nobody by a socket of another protocol",
      port: 4_000_000_000,
      want: { kind: "short-lived", suspects },
    },
    { name: "nobody without a port", port: undefined, want: { kind: "unknown", suspects } },
  ];
  for (const { name, port, want } of rows) {
    test(`names ${name}`, () => assert.deepEqual(new Culprits({ proc }).of(port), want));
  }

  test("reads the list of processes every few seconds at most", () => {
    let now = 0;
    const culprits = new Culprits({ proc, now: () => now });
    culprits.of(undefined);
    run(900, "dhcpcd");
    now = 4_999;
    assert.deepEqual(culprits.of(undefined), { kind: "unknown", suspects });
    now = 5_001;
    assert.deepEqual(culprits.of(undefined), {
      kind: "unknown",
      suspects: [...suspects, "dhcpcd"],
    });
  });

  test("knows nothing where procfs is missing", () => {
    assert.deepEqual(new Culprits({ proc: `${proc}/missing` }).of(612), {
      kind: "short-lived",
      suspects: [],
    });
  });

  test("names this process, by the real procfs", () => {
    const culprit = new Culprits().of(process.pid);
    assert.equal(culprit.kind === "program" ? culprit.pid : culprit, process.pid);
  });
});
