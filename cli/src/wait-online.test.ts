import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { type Link, LinkState } from "@mnm/proto/network-manager";
import { isOnline } from "./online.js";
import { run } from "./run.js";
import { eventItem, FakeController, LINK, STATUS, type Stream } from "./testing/fake-controller.js";
import { Terminal } from "./testing/terminal.js";

let fake: FakeController;
/** What the controller answers when asked. */
let links: readonly Link[];
let streams: Stream[];

beforeEach(() => {
  fake = new FakeController();
  links = [];
  streams = [];
});
afterEach(() => fake.remove());

const link = (name: string, state: LinkState) => ({ ...LINK, name, state });
const synced = { item: { $case: "synced", value: { instance: "aaaa", sequence: 0n } } } as const;

async function startController(onSubscribe: (stream: Stream) => void = () => {}): Promise<void> {
  await fake.start({
    unary: { getStatus: () => ({ value: { status: { ...STATUS, links } } }) },
    subscribe: (stream) => {
      streams.push(stream);
      stream.write(synced);
      onSubscribe(stream);
    },
  });
}

async function mnmctl(...argv: readonly string[]) {
  const terminal = new Terminal({ env: { MNM_SOCKET: fake.socket } });
  const code = await run(["wait-online", ...argv], terminal);
  return { code, stdout: terminal.stdout, stderr: terminal.stderr };
}

interface Row {
  readonly name: string;
  readonly links: readonly Link[];
  readonly how?: "any" | "all";
  readonly names?: readonly string[];
  readonly want: boolean;
}

describe("what counts as online", () => {
  const eth0 = link("eth0", LinkState.USABLE);
  const wan0 = link("wan0", LinkState.CONFIGURING);
  const wan1 = link("wan1", LinkState.NO_CARRIER);
  const docker0 = link("docker0", LinkState.IGNORED);
  const all = [eth0, wan0, wan1, docker0];
  const rows: readonly Row[] = [
    { name: "any: one is usable", links: all, how: "any", names: [], want: true },
    { name: "any: none is", links: [wan0, wan1], how: "any", names: [], want: false },
    { name: "any: no link", links: [], how: "any", names: [], want: false },
    { name: "all: one is configuring", links: all, how: "all", names: [], want: false },
    {
      name: "all: without those that have no carrier or are ignored",
      links: [eth0, wan1, docker0, link("wan2", LinkState.RELEASED)],
      how: "all",
      names: [],
      want: true,
    },
    {
      name: "all: holding is not usable",
      links: [eth0, link("w", LinkState.HOLDING)],
      want: false,
    },
    { name: "all: nothing to wait for is not online", links: [wan1, docker0], want: false },
    { name: "named: it is", links: all, how: "all", names: ["eth0"], want: true },
    { name: "named: one of two", links: all, how: "all", names: ["eth0", "wan0"], want: false },
    { name: "named: any of two", links: all, how: "any", names: ["eth0", "wan0"], want: true },
    { name: "named: others do not count", links: all, how: "any", names: ["wan0"], want: false },
    { name: "named: not there", links: all, how: "all", names: ["eth0", "x"], want: false },
    { name: "named: no carrier counts", links: all, how: "all", names: ["wan1"], want: false },
  ];
  for (const { name, links, how = "all", names = [], want } of rows) {
    test(name, () => assert.equal(isOnline(links, { names, how }), want));
  }
});

describe("mnmctl wait-online", () => {
  test("is done at once when the host is online", async () => {
    links = [link("eth0", LinkState.USABLE), link("wan0", LinkState.CONFIGURING)];
    await startController();
    assert.deepEqual(await mnmctl(), { code: 0, stdout: "online: eth0\n", stderr: "" });
  });

  test("is done as soon as an event says so", async () => {
    links = [link("eth0", LinkState.CONFIGURING)];
    await startController((stream) => {
      // An event about something else first: it looks, and waits on.
      stream.write(eventItem(1n));
      setImmediate(() => {
        links = [link("eth0", LinkState.USABLE)];
        stream.write(eventItem(2n));
      });
    });
    const { code, stdout } = await mnmctl("--timeout", "infinity", "--json", "eth0");
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(stdout), { version: 1, online: true, links: ["eth0"] });
  });

  test("waits for a controller that is not there yet, and for one that restarts", async () => {
    links = [link("eth0", LinkState.CONFIGURING)];
    const outcome = mnmctl("--timeout", "1h");
    await new Promise((resolve) => setTimeout(resolve, 50));
    await startController(() => {
      setImmediate(() => {
        fake.stop();
        links = [link("eth0", LinkState.USABLE)];
        void startController();
      });
    });
    assert.deepEqual(await outcome, { code: 0, stdout: "online: eth0\n", stderr: "" });
  });

  test("says what the links are when it is too late", async () => {
    links = [link("eth0", LinkState.NO_CARRIER), link("docker0", LinkState.IGNORED)];
    await startController();
    assert.deepEqual(await mnmctl("--timeout", "1s"), {
      code: 4,
      stdout: "",
      stderr: "error: not online after 1 s: eth0 no carrier; mnmctl status says more\n",
    });
    const late = await mnmctl("--timeout", "0", "--json", "wan0", "docker0");
    assert.equal(late.code, 4);
    assert.match(late.stderr, /^error: not online: docker0 ignored, wan0 not there; /);
    assert.equal(JSON.parse(late.stdout).error.code, "not-online");
    links = [];
    assert.match((await mnmctl("--timeout", "0")).stderr, /no link is managed/);
  });

  test("without a controller it is 3 in the end, and at once where waiting is no use", async () => {
    const { code, stderr } = await mnmctl("--timeout", "1");
    assert.equal(code, 3);
    assert.match(stderr, /^error: there is no controller at /);
    assert.equal((await mnmctl("--timeout", "0")).code, 3);
    const terminal = new Terminal({ env: {} });
    assert.equal(await run(["wait-online", "--socket", "/dev/null"], terminal), 3);
    assert.match(terminal.stderr, /is not a socket/);
  });

  test("refuses what it does not understand", async () => {
    for (const argv of [
      ["--any", "--all"],
      ["--timeout", "soon"],
      ["--timeout", "5parsec"],
      ["--timeout", "9999999h"],
      ["--timeout", ""],
    ]) {
      const { code, stderr } = await mnmctl(...argv);
      assert.equal(code, 2, argv.join(" "));
      assert.match(stderr, /^error: .+; .+\n$/);
    }
  });
});
