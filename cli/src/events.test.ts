import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { status as Status } from "@grpc/grpc-js";
import { Fault_Code } from "@mnm/proto/network-manager";
import { run } from "./run.js";
import {
  eventItem,
  FAULT,
  FakeController,
  type Script,
  STATUS,
} from "./testing/fake-controller.js";
import { Terminal } from "./testing/terminal.js";

process.env["TZ"] = "UTC";

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

/** A journal as the controller keeps it: resumes, or resets to the oldest it has. */
function journal(state: { instance: string; oldest: bigint; last: bigint }): Script {
  return {
    unary: {
      getStatus: () => ({
        value: { status: { ...STATUS, instance: state.instance, lastSequence: state.last } },
      }),
    },
    subscribe: (stream) => {
      const { resumeAfter } = stream.request;
      const isKnown =
        resumeAfter?.instance === state.instance && resumeAfter.sequence + 1n >= state.oldest;
      const reset = { text: "too old", oldestSequence: state.oldest };
      if (!isKnown) stream.write({ item: { $case: "reset", value: reset } });
      const first = isKnown ? (resumeAfter?.sequence ?? 0n) + 1n : state.last + 1n;
      for (let next = first; next <= state.last; next++) {
        stream.write(eventItem(next, state.instance));
      }
      const position = { instance: state.instance, sequence: state.last };
      stream.write({ item: { $case: "synced", value: position } });
    },
  };
}

describe("mnmctl events", () => {
  const lineOf = (sequence: number) =>
    `1970-01-01 00:00:00.000  #${sequence}      eth0      happening ${sequence}\n`;

  test("prints the journal and ends", async () => {
    await fake.start(journal({ instance: "aaaa", oldest: 1n, last: 2n }));
    assert.deepEqual(await mnmctl("events"), {
      code: 0,
      stdout: lineOf(1) + lineOf(2),
      stderr: "",
    });
  });

  test("prints what is left of a journal that has lost its beginning", async () => {
    await fake.start(journal({ instance: "aaaa", oldest: 3n, last: 4n }));
    assert.equal((await mnmctl("events")).stdout, lineOf(3) + lineOf(4));
  });

  test("--since says when some of it is lost", async () => {
    await fake.start(journal({ instance: "aaaa", oldest: 3n, last: 4n }));
    const { stdout } = await mnmctl("events", "--since", "1");
    assert.equal(stdout, `-- events up to #2 are no longer kept\n${lineOf(3)}${lineOf(4)}`);
    assert.equal((await mnmctl("events", "--since", "3")).stdout, lineOf(4));
    assert.equal((await mnmctl("events", "--since", "4")).stdout, "");
    assert.equal((await mnmctl("events", "--since", "yesterday")).code, 2);
  });

  test("--since a number that is yet to come says so, and follows from the last", async () => {
    const state = { instance: "aaaa", oldest: 1n, last: 4n };
    await fake.start(journal(state));
    const ahead =
      "-- event #99 has not happened yet: the last is #4; numbers begin at 1 when the controller starts\n";
    assert.deepEqual(await mnmctl("events", "--since", "99"), {
      code: 0,
      stdout: ahead,
      stderr: "",
    });
    const { stdout } = await mnmctl("events", "--since", "99", "--json");
    assert.equal(JSON.parse(stdout).notice.code, "ahead");
    const terminal = new Terminal({ env: { MNM_SOCKET: fake.socket } });
    const done = run(["events", "--follow", "--since", "99"], terminal);
    await terminal.until("not happened yet");
    fake.stop();
    state.last = 5n;
    await terminal.until("waiting for it");
    await fake.start(journal(state));
    await terminal.until("happening 5");
    terminal.interrupt();
    assert.equal(await done, 0);
    assert.ok(terminal.stdout.startsWith(ahead));
  });

  test("--json is an object a line", async () => {
    await fake.start(journal({ instance: "aaaa", oldest: 1n, last: 2n }));
    const lines = (await mnmctl("events", "--json")).stdout.trimEnd().split("\n");
    const [first] = lines.map((line) => JSON.parse(line));
    assert.equal(lines.length, 2);
    assert.equal(first.version, 1);
    assert.equal(first.event.kind, "uplink_usable");
    assert.equal(first.event.reason, "unspecified");
    assert.deepEqual(first.event.link, { identity: "name:eth0", name: "eth0", ifindex: 2 });
  });

  test("--follow resumes at the same controller and begins anew at another", async () => {
    const state = { instance: "aaaa", oldest: 1n, last: 1n };
    await fake.start(journal(state));
    const terminal = new Terminal({ env: { MNM_SOCKET: fake.socket } });
    const done = run(["events", "--follow"], terminal);
    await terminal.until("happening 1");
    fake.stop();
    state.last = 2n;
    await fake.start(journal(state));
    await terminal.until("happening 2");
    fake.stop();
    await terminal.until("happening 2\n-- the connection");
    await fake.start(journal({ instance: "bbbb", oldest: 1n, last: 1n }));
    await terminal.until("numbered from 1 again\n1970");
    terminal.interrupt();
    assert.equal(await done, 0);
    const shape = terminal.stdout.replace(/the connection to .*; waiting/g, "lost; waiting");
    assert.match(
      shape.replaceAll(fake.socket, "SOCKET"),
      /^.*happening 1\n-- .*waiting for it\n-- connected again, events go on after #1\n.*happening 2\n-- .*waiting for it\n-- the controller has restarted; .*again\n.*happening 1\n$/,
    );
  });

  test("--follow does not wait for a controller that was never there", async () => {
    assert.equal((await mnmctl("events", "--follow")).code, 3);
  });

  test("a refused stream is a failure", async () => {
    const fault = { ...FAULT, code: Fault_Code.INTERNAL, text: "the journal is on fire" };
    await fake.start({
      ...journal({ instance: "aaaa", oldest: 1n, last: 1n }),
      subscribe: (stream) => {
        stream.emit("error", { code: Status.INTERNAL, details: fault.text });
      },
    });
    const { code, stderr } = await mnmctl("events", "--follow");
    assert.equal(code, 1);
    assert.equal(
      stderr,
      "error: the journal is on fire (INTERNAL); the controller's log may say more\n",
    );
  });
});
