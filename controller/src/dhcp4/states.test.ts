// Every state and whatever can happen in it, as tables. A cell is a word of the legend.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { addresses, CONFLICT, ipv4, type ReplyFields } from "../testing/dhcp4-server.js";
import { DhcpSimulation } from "../testing/dhcp4-simulation.js";
import { type DhcpState, leaseOf, STOPPED } from "./index.js";

type Kind = DhcpState["kind"];

/** `rebooting` asks about a lease in force, `remembering` about one of an earlier life. */
type Row = Kind | "remembering";

/** How to get into each state, with the xid of what was sent last still good. */
const PATHS: Readonly<Record<Row, (client: DhcpSimulation) => void>> = {
  stopped: (client) => {
    client.bind();
    client.deliver({ kind: "stop" });
  },
  init: (client) => {
    client.bind();
    client.deliver(CONFLICT);
  },
  selecting: (client) => client.start(),
  requesting: (client) => {
    client.start();
    client.reply({ type: "offer" });
  },
  "init-reboot": (client) => {
    client.bind();
    client.check();
  },
  rebooting: (client) => {
    client.bind();
    client.advanceTo(100);
    client.check();
  },
  remembering: (client) => {
    client.bind();
    const lease = leaseOf(client.state);
    assert.ok(lease !== undefined);
    client.deliver({ kind: "stop" });
    client.deliver({ kind: "start", remembered: { kind: "reboot", lease } });
  },
  bound: (client) => client.bind(),
  renewing: (client) => {
    client.bind();
    client.advanceTo(1800);
  },
  rebinding: (client) => {
    client.bind();
    client.advanceTo(3150);
  },
};

/** What each word in a cell means: the state afterwards, and what the step sent and said. */
const LEGEND: Readonly<Record<string, string>> = {
  // Nothing becomes of it.
  "·": "(same): ",
  no: "(same): ignored not-expected",
  xid: "(same): ignored wrong-xid",
  server: "(same): ignored wrong-server",
  // A lease is asked for, got, or lost.
  discover: "selecting: send discover",
  request: "requesting: send request",
  bound: "bound: bound 192.0.2.50",
  renewed: "bound: renewed 192.0.2.50",
  refused: "selecting: lost 192.0.2.50 refused, send discover",
  unknown: "selecting: refused 192.0.2.50, send discover",
  declined: "init: lost 192.0.2.50 declined, send decline",
  released: "stopped: send release to 192.0.2.1, lost 192.0.2.50 released",
  lost: "stopped: lost 192.0.2.50 stopped",
  stopped: "stopped: ",
  // A lease in force is asked about, or is to be in a moment.
  later: "init-reboot: ",
  reboot: "rebooting: send request",
  renew: "renewing: send request to 192.0.2.1",
  rebind: "rebinding: send request",
};

/** A reply with the right xid and server, unless it says otherwise. */
type Message = Omit<ReplyFields, "xid"> & { readonly isOfOther?: true };

const STRANGER = { 54: addresses("192.0.2.2") };

const REPLIES: Readonly<Record<string, Message>> = {
  OFFER: { type: "offer" },
  ACK: { type: "ack" },
  NAK: { type: "nak" },
  // Of another exchange.
  "OFFER≠xid": { type: "offer", isOfOther: true },
  "ACK≠xid": { type: "ack", isOfOther: true },
  "NAK≠xid": { type: "nak", isOfOther: true },
  // Of another server.
  "OFFER≠srv": { type: "offer", options: STRANGER },
  "ACK≠srv": { type: "ack", options: STRANGER },
  "NAK≠srv": { type: "nak", options: STRANGER },
};

const OF_REPLIES = `
              | OFFER   | ACK     | NAK      | OFFER≠xid | ACK≠xid | NAK≠xid | OFFER≠srv | ACK≠srv | NAK≠srv
  stopped     | no      | no      | no       | no        | no      | no      | no        | no      | no
  init        | no      | no      | no       | no        | no      | no      | no        | no      | no
  selecting   | request | no      | no       | xid       | xid     | xid     | request   | no      | no
  requesting  | no      | bound   | discover | xid       | xid     | xid     | no        | server  | server
  init-reboot | no      | no      | no       | no        | no      | no      | no        | no      | no
  rebooting   | no      | renewed | refused  | xid       | xid     | xid     | no        | renewed | refused
  remembering | no      | bound   | unknown  | xid       | xid     | xid     | no        | bound   | unknown
  bound       | no      | no      | no       | no        | no      | no      | no        | no      | no
  renewing    | no      | renewed | refused  | xid       | xid     | xid     | no        | server  | server
  rebinding   | no      | renewed | refused  | xid       | xid     | xid     | no        | renewed | refused
`;

/** What no server sends to a client, or leaves out what counts: no state makes a difference. */
const REFUSED: Readonly<Record<string, readonly [Message, string]>> = {
  DISCOVER: [{ type: "discover" }, "message-type-unexpected"],
  REQUEST: [{ type: "request" }, "message-type-unexpected"],
  DECLINE: [{ type: "decline" }, "message-type-unexpected"],
  RELEASE: [{ type: "release" }, "message-type-unexpected"],
  INFORM: [{ type: "inform" }, "message-type-unexpected"],
  FORCERENEW: [{ type: "forcerenew" }, "forcerenew-unauthenticated"],
  "type 0": [{ type: "ack", options: typed(0) }, "message-type-unexpected"],
  "type 13, LEASEACTIVE": [{ type: "ack", options: typed(13) }, "message-type-unexpected"],
  "type 255": [{ type: "ack", options: typed(255) }, "message-type-unexpected"],
  "BOOTP, without a type": [{ type: "ack", options: typed() }, "message-type-missing"],
  "a type of two bytes": [{ type: "ack", options: typed(5, 5) }, "message-type-missing"],
  "OFFER without a server": [{ type: "offer", options: { 54: undefined } }, "server-id-missing"],
  "ACK without a server": [{ type: "ack", options: { 54: undefined } }, "server-id-missing"],
  "NAK without a server": [{ type: "nak", options: { 54: undefined } }, "server-id-missing"],
  "a request, not a reply": [{ type: "ack", op: 1 }, "not-a-reply"],
};

const COMMANDS: Readonly<Record<string, (client: DhcpSimulation) => void>> = {
  start: (client) => client.start(),
  stop: (client) => void client.deliver({ kind: "stop" }),
  release: (client) => void client.deliver({ kind: "release" }),
  renew: (client) => void client.deliver({ kind: "renew" }),
  check: (client) => client.check(),
  "check+gw": (client) => client.check(true),
  same: (client) => void client.deliver({ kind: "same-network" }),
  conflict: (client) => void client.deliver(CONFLICT),
  wake: (client) => void client.deliver({ kind: "wake" }),
  deadline: (client) => void client.wakeOnce(Number.POSITIVE_INFINITY),
};

const OF_COMMANDS = `
              | start    | stop    | release  | renew    | check | check+gw | same | conflict | wake | deadline
  stopped     | discover | ·       | ·        | ·        | ·     | ·        | ·    | ·        | ·    | ·
  init        | ·        | stopped | stopped  | discover | ·     | ·        | ·    | ·        | ·    | discover
  selecting   | ·        | stopped | stopped  | discover | ·     | ·        | ·    | ·        | ·    | discover
  requesting  | ·        | stopped | stopped  | discover | ·     | ·        | ·    | ·        | ·    | request
  init-reboot | ·        | lost    | released | reboot   | ·     | ·        | ·    | declined | ·    | reboot
  rebooting   | ·        | lost    | released | reboot   | ·     | ·        | ·    | declined | ·    | reboot
  remembering | ·        | stopped | stopped  | reboot   | ·     | ·        | ·    | ·        | ·    | discover
  bound       | ·        | lost    | released | renew    | later | later    | ·    | declined | ·    | renew
  renewing    | ·        | lost    | released | renew    | later | later    | ·    | declined | ·    | renew
  rebinding   | ·        | lost    | released | rebind   | later | later    | ·    | declined | ·    | rebind
`;

/** The state and the log, without times, after `act`. */
function outcome(row: Row, act: (client: DhcpSimulation) => void): string {
  const client = new DhcpSimulation();
  PATHS[row](client);
  assert.equal(client.state.kind, kindOf(row));
  client.takeLog();
  act(client);
  const log = client.takeLog().map((line) => line.replace(/^\S+ /, ""));
  return `${client.state.kind}: ${log.join(", ")}`;
}

function send(client: DhcpSimulation, { isOfOther, ...fields }: Message): void {
  const { xid } = client.last;
  client.reply({ ...fields, xid: isOfOther ? xid ^ 1 : xid });
}

describe("every state and every reply", () => {
  for (const { row, column, want } of cellsOf(OF_REPLIES, Object.keys(REPLIES))) {
    test(`${row}, ${column}`, () => {
      const message = REPLIES[column];
      assert.ok(message !== undefined);
      assert.equal(
        outcome(row, (client) => send(client, message)),
        want,
      );
    });
  }
});

describe("every state and every message that is no reply", () => {
  for (const row of keysOf(PATHS)) {
    for (const [name, [message, reason]] of Object.entries(REFUSED)) {
      test(`${row}, ${name}`, () => {
        assert.equal(
          outcome(row, (client) => send(client, message)),
          `${kindOf(row)}: ignored ${reason}`,
        );
      });
    }
  }
});

describe("every state and every command", () => {
  for (const { row, column, want } of cellsOf(OF_COMMANDS, Object.keys(COMMANDS))) {
    test(`${row}, ${column}`, () => {
      const act = COMMANDS[column];
      assert.ok(act !== undefined);
      assert.equal(outcome(row, act), want);
    });
  }

  for (const row of keysOf(PATHS)) {
    test(`${row}: a wake before the deadline leaves the very state`, () => {
      const client = new DhcpSimulation();
      PATHS[row](client);
      const { state } = client;
      client.deliver({ kind: "wake" });
      assert.equal(client.state, state);
    });
  }
});

test("in every state, a reply to another address of ours or none changes what it must", () => {
  // The address in an OFFER or ACK is the server's to choose, whatever was asked for.
  const address = ipv4("192.0.2.77");
  const want: Readonly<Partial<Record<Row, string>>> = {
    requesting: "bound: bound 192.0.2.77",
    rebooting: "bound: renewed 192.0.2.77",
    remembering: "bound: bound 192.0.2.77",
    renewing: "bound: renewed 192.0.2.77",
    rebinding: "bound: renewed 192.0.2.77",
  };
  for (const row of keysOf(PATHS)) {
    const got = outcome(row, (client) => send(client, { type: "ack", address }));
    assert.equal(got, want[row] ?? `${kindOf(row)}: ignored not-expected`);
  }
});

test("the state to begin with is stopped", () => assert.equal(STOPPED.kind, "stopped"));

function typed(...bytes: readonly number[]) {
  return { 53: bytes.length === 0 ? undefined : Uint8Array.from(bytes) };
}

function kindOf(row: Row): Kind {
  return row === "remembering" ? "rebooting" : row;
}

interface Cell {
  readonly row: Row;
  readonly column: string;
  readonly want: string;
}

/** The cells of a table. Throws unless it has every state, and the columns that it should. */
function cellsOf(table: string, columns: readonly string[]): readonly Cell[] {
  const [header = [], ...lines] = table
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => line.split("|").map((cell) => cell.trim()));
  assert.deepEqual(header, ["", ...columns]);
  const rows = keysOf(PATHS);
  assert.deepEqual(
    lines.map(([row]) => row),
    rows,
  );
  return lines.flatMap((line, at) => {
    const row = rows[at] ?? "stopped";
    return columns.map((column, index) => {
      const word = line[index + 1] ?? "";
      const want = LEGEND[word];
      assert.ok(want !== undefined, `${row}, ${column}: no legend has "${word}"`);
      return { row, column, want: want.replace("(same)", kindOf(row)) };
    });
  });
}

function keysOf<Key extends string>(record: Readonly<Record<Key, unknown>>): readonly Key[] {
  return Object.keys(record).filter((key): key is Key => key in record);
}
