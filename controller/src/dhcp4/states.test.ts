import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TYPES } from "../testing/dhcp4-server.js";
import { DhcpSimulation } from "../testing/dhcp4-simulation.js";
import { type DhcpState, STOPPED } from "./index.js";

type Kind = DhcpState["kind"];
type Type = keyof typeof TYPES;

/** How to get into each state, with the xid of what was sent last still good. */
const PATHS: Readonly<Record<Kind, (client: DhcpSimulation) => void>> = {
  stopped: (client) => {
    client.bind();
    client.deliver({ kind: "stop" });
  },
  init: (client) => {
    client.bind();
    client.deliver({ kind: "conflict" });
  },
  selecting: (client) => client.start(),
  requesting: (client) => {
    client.start();
    client.reply({ type: "offer" });
  },
  "init-reboot": (client) => {
    client.bind();
    client.deliver({ kind: "check" });
  },
  rebooting: (client) => {
    client.bind();
    client.advanceTo(100);
    client.deliver({ kind: "check" });
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

/** Messages that no server sends to a client: the same in every state. */
const ALWAYS: Readonly<Partial<Record<Type, string>>> = {
  discover: "ignored message-type-unexpected",
  request: "ignored message-type-unexpected",
  decline: "ignored message-type-unexpected",
  release: "ignored message-type-unexpected",
  inform: "ignored message-type-unexpected",
  forcerenew: "ignored forcerenew-unauthenticated",
};

const NO = "ignored not-expected";

/** After each message: the state, and what the step said. */
const TABLE: Readonly<Record<Kind, Readonly<Record<"offer" | "ack" | "nak", string>>>> = {
  stopped: { offer: `stopped: ${NO}`, ack: `stopped: ${NO}`, nak: `stopped: ${NO}` },
  init: { offer: `init: ${NO}`, ack: `init: ${NO}`, nak: `init: ${NO}` },
  selecting: {
    offer: "requesting: send request",
    ack: `selecting: ${NO}`,
    nak: `selecting: ${NO}`,
  },
  requesting: {
    offer: `requesting: ${NO}`,
    ack: "bound: bound 192.0.2.50",
    nak: "selecting: send discover",
  },
  "init-reboot": {
    offer: `init-reboot: ${NO}`,
    ack: `init-reboot: ${NO}`,
    nak: `init-reboot: ${NO}`,
  },
  rebooting: {
    offer: `rebooting: ${NO}`,
    ack: "bound: renewed 192.0.2.50",
    nak: "selecting: lost 192.0.2.50 refused, send discover",
  },
  bound: { offer: `bound: ${NO}`, ack: `bound: ${NO}`, nak: `bound: ${NO}` },
  renewing: {
    offer: `renewing: ${NO}`,
    ack: "bound: renewed 192.0.2.50",
    nak: "selecting: lost 192.0.2.50 refused, send discover",
  },
  rebinding: {
    offer: `rebinding: ${NO}`,
    ack: "bound: renewed 192.0.2.50",
    nak: "selecting: lost 192.0.2.50 refused, send discover",
  },
};

/** The state and the log, without times, after `act`. */
function after(kind: Kind, act: (client: DhcpSimulation) => void): string {
  const client = new DhcpSimulation();
  PATHS[kind](client);
  assert.equal(client.state.kind, kind);
  client.takeLog();
  act(client);
  const log = client.takeLog().map((line) => line.replace(/^\S+ /, ""));
  return [client.state.kind, log.join(", ")].join(": ");
}

describe("every state and every message", () => {
  for (const [kind, row] of entriesOf(TABLE)) {
    for (const type of keysOf(TYPES)) {
      const always = ALWAYS[type];
      const own = type === "offer" || type === "ack" || type === "nak" ? row[type] : undefined;
      const want = own ?? `${kind}: ${always}`;
      test(`${kind}, ${type}`, () => {
        assert.equal(
          after(kind, (client) => void client.reply({ type })),
          want,
        );
      });
    }

    test(`${kind}, a foreign xid`, () => {
      const isAsking = !["stopped", "init", "init-reboot", "bound"].includes(kind);
      const want = `${kind}: ignored ${isAsking ? "wrong-xid" : "not-expected"}`;
      for (const type of ["offer", "ack", "nak"] as const) {
        const reply = (client: DhcpSimulation) =>
          void client.reply({ type, xid: client.last.xid ^ 1 });
        assert.equal(after(kind, reply), want);
      }
    });
  }
});

describe("every state and every command", () => {
  const lost = "lost 192.0.2.50";
  const asksAgain = "send request";
  const unicast = "send request to 192.0.2.1";
  const declined = `init: ${lost} declined, send decline`;
  const released = `stopped: send release to 192.0.2.1, ${lost} released`;
  const table: Readonly<
    Record<Kind, Readonly<Record<"stop" | "release" | "renew" | "check" | "conflict", string>>>
  > = {
    stopped: {
      stop: "stopped: ",
      release: "stopped: ",
      renew: "stopped: ",
      check: "stopped: ",
      conflict: "stopped: ",
    },
    init: {
      stop: "stopped: ",
      release: "stopped: ",
      renew: "selecting: send discover",
      check: "init: ",
      conflict: "init: ",
    },
    selecting: {
      stop: "stopped: ",
      release: "stopped: ",
      renew: "selecting: send discover",
      check: "selecting: ",
      conflict: "selecting: ",
    },
    requesting: {
      stop: "stopped: ",
      release: "stopped: ",
      renew: "selecting: send discover",
      check: "requesting: ",
      conflict: "requesting: ",
    },
    "init-reboot": {
      stop: `stopped: ${lost} stopped`,
      release: released,
      renew: `rebooting: ${asksAgain}`,
      check: "init-reboot: ",
      conflict: declined,
    },
    rebooting: {
      stop: `stopped: ${lost} stopped`,
      release: released,
      renew: `rebooting: ${asksAgain}`,
      check: "rebooting: ",
      conflict: declined,
    },
    bound: {
      stop: `stopped: ${lost} stopped`,
      release: released,
      renew: `renewing: ${unicast}`,
      check: "init-reboot: ",
      conflict: declined,
    },
    renewing: {
      stop: `stopped: ${lost} stopped`,
      release: released,
      renew: `renewing: ${unicast}`,
      check: "init-reboot: ",
      conflict: declined,
    },
    rebinding: {
      stop: `stopped: ${lost} stopped`,
      release: released,
      renew: `rebinding: ${asksAgain}`,
      check: "init-reboot: ",
      conflict: declined,
    },
  };
  for (const [kind, row] of entriesOf(table)) {
    for (const [event, want] of entriesOf(row)) {
      test(`${kind}, ${event}`, () => {
        assert.equal(
          after(kind, (client) => void client.deliver({ kind: event })),
          want,
        );
      });
    }

    test(`${kind}: a wake before the deadline changes nothing`, () => {
      const client = new DhcpSimulation();
      PATHS[kind](client);
      const { state } = client;
      assert.deepEqual(client.deliver({ kind: "wake" }), []);
      assert.equal(client.state, state);
    });

    test(`${kind}, start`, () => {
      const start = { kind: "start", remembered: undefined } as const;
      const want = kind === "stopped" ? "selecting: send discover" : `${kind}: `;
      assert.equal(
        after(kind, (client) => void client.deliver(start)),
        want,
      );
    });
  }
});

test("the state to begin with is stopped", () => assert.deepEqual(STOPPED, { kind: "stopped" }));

function keysOf<Key extends string>(record: Readonly<Record<Key, unknown>>): readonly Key[] {
  return Object.keys(record).filter((key): key is Key => key in record);
}

function entriesOf<Key extends string, Value>(
  record: Readonly<Record<Key, Value>>,
): readonly (readonly [Key, Value])[] {
  return keysOf(record).map((key) => [key, record[key]] as const);
}
