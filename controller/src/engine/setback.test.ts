import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ByteReader } from "@mnm/proto/net";
import { EngineSimulation, makeWorld, type World } from "../testing/engine-simulation.js";
import type { LogEntry } from "./messages.js";

const UNIQUE = 'links: { "wan*": {} }\nunique: true';
const UP = { carrier: true, operstate: "up" } as const;
const DOWN = { carrier: false, operstate: "down" } as const;

/** Two links with one address, of which the first has it. */
function twins(config = UNIQUE) {
  const addressOf = makeWorld([]).addressOf;
  const shared = { isOver: false };
  const world: World = {
    ...makeWorld([1, 2]),
    addressOf: (n) => addressOf(shared.isOver ? n : 1),
  };
  return { world, shared, simulation: new EngineSimulation(world, config) };
}

function dhcpOf(simulation: EngineSimulation, name: string) {
  return simulation.status.links.find(({ link }) => link.name === name)?.managed;
}

const warningsOf = ({ status }: EngineSimulation) =>
  status.warnings.map(({ link, text }) => `${link}: ${text}`);

describe("`unique`", () => {
  test("status says which link has the address, and when it is asked for again", () => {
    const { simulation } = twins();
    simulation.advance(3_000);
    const wait = dhcpOf(simulation, "wan2")?.wait;
    assert.deepEqual([wait?.cause, wait?.address, wait?.by], ["unique", "10.0.1.100", "wan1"]);
    assert.deepEqual(warningsOf(simulation), [
      "wan2: declined 10.0.1.100, which wan1 has (unique); asks again in 7 s (mnmctl reconnect wan2 asks now)",
    ]);
    assert.ok(simulation.diary("wan2").includes("declined 10.0.1.100/24: wan1 has it"));
    assert.equal(dhcpOf(simulation, "wan1")?.wait, undefined);
  });

  test("of two, the one that had the address first keeps it", () => {
    const { world, shared, simulation } = twins();
    shared.isOver = true;
    simulation.advance(60_000);
    assert.equal(dhcpOf(simulation, "wan2")?.dhcpState, "bound");
    // The first link comes to have the second one's address, and is the later one then.
    const addressOf = makeWorld([]).addressOf;
    Object.assign(world, { addressOf: () => addressOf(2) });
    simulation.changeLink(1, DOWN);
    simulation.changeLink(1, UP);
    simulation.advance(1_000);
    assert.equal(dhcpOf(simulation, "wan2")?.dhcpState, "bound");
    assert.equal(dhcpOf(simulation, "wan1")?.wait?.by, "wan2");
    const unusable = simulation.events.findLast(({ kind }) => kind === "uplink-unusable");
    assert.equal(unusable?.text, "unusable: its address is in use elsewhere");
    assert.equal(unusable?.reason, "collision");
  });

  test("once nobody has the address, it is not waited for long", () => {
    const { simulation } = twins();
    // After 10, 20, 40, … s, the next wait is one of minutes.
    simulation.advance(400_000);
    const { wait } = dhcpOf(simulation, "wan2") ?? {};
    assert.match(warningsOf(simulation).join(), /asks again in [2-9] min /);
    assert.ok(wait !== undefined);
    simulation.changeLink(1, DOWN);
    simulation.advance(4_000);
    assert.equal(dhcpOf(simulation, "wan1")?.dhcpState, "stopped");
    assert.equal(dhcpOf(simulation, "wan2")?.dhcpState, "bound");
    assert.deepEqual(warningsOf(simulation), []);
  });

  test("nor once a new configuration lets both have it", () => {
    const { simulation } = twins();
    simulation.advance(400_000);
    assert.equal(dhcpOf(simulation, "wan2")?.dhcpState, "init");
    const config = { ...simulation.config, unique: false };
    simulation.post({ kind: "config", config, file: "test.yaml" });
    assert.equal(dhcpOf(simulation, "wan2")?.dhcpState, "bound");
  });
});

describe("a server that refuses everything", () => {
  test("is named once a row, counted, and in status when the wait is long", () => {
    const world = makeWorld([1]);
    world.refusingServers.add(1);
    const simulation = new EngineSimulation(world);
    simulation.advance(1_000);
    assert.deepEqual(warningsOf(simulation), [], "4 s are no matter");
    const { wait } = dhcpOf(simulation, "wan1") ?? {};
    assert.deepEqual([wait?.cause, wait?.by, wait?.isLong], ["nak", "10.0.1.1", false]);
    simulation.advance(60_000);
    const refused = simulation.events.filter(({ kind }) => kind === "lease-refused");
    assert.deepEqual(
      refused.map(({ text, before }) => [text, before]),
      [["server 10.0.1.1 refused 10.0.1.100", ""]],
    );
    assert.match(
      warningsOf(simulation).join(),
      /^wan1: 10\.0\.1\.1 refused 10\.0\.1\.100 \(NAK\); asks again in \d+ s \(mnmctl reconnect wan1 asks now\)$/,
    );
    const counters = dhcpOf(simulation, "wan1")?.counters;
    const naks = counters?.get("received-nak") ?? 0;
    assert.ok(naks >= 5, `${naks} NAKs`);
    assert.equal(counters?.get("received-offer"), naks);
    assert.equal(counters?.get("received"), 2 * naks);

    world.refusingServers.delete(1);
    simulation.post({ kind: "request", id: 1, request: { kind: "reconnect", link: "wan1" } });
    assert.equal(dhcpOf(simulation, "wan1")?.dhcpState, "bound");
    assert.equal(counters?.get("received-ack"), 1);
    assert.deepEqual(warningsOf(simulation), []);
  });

  test("is asked no more than ten times a minute by a link whose carrier flaps", () => {
    const world = makeWorld([1]);
    world.refusingServers.add(1);
    const sentAt: number[] = [];
    const simulation = new EngineSimulation(world, undefined, {
      onEffect: ({ kind }) => {
        if (kind === "send-dhcp") sentAt.push(world.now);
      },
    });
    for (let flaps = 0; flaps < 60; flaps += 1) {
      simulation.changeLink(1, DOWN);
      simulation.advance(3_500);
      simulation.changeLink(1, UP);
      simulation.advance(500);
    }
    const busiest = Math.max(
      ...sentAt.map((end) => sentAt.filter((at) => at <= end && at > end - 60_000).length),
    );
    assert.ok(sentAt.length > 12, `${sentAt.length} messages`);
    assert.ok(busiest <= 10, `${busiest} in a minute`);
  });
});

describe("what a lease left out", () => {
  /** The warnings of a start and three renewals, where each ACK went through `change`. */
  function warnings(change: (payload: Uint8Array) => Uint8Array): readonly LogEntry[] {
    const world = makeWorld([1]);
    world.leaseSec = 60;
    const logged: LogEntry[] = [];
    const simulation = new EngineSimulation(world, undefined, {
      onEffect: (effect) => {
        if (effect.kind === "log" && effect.entry.level === "warn") logged.push(effect.entry);
      },
      onAnswer: change,
    });
    simulation.advance(100_000);
    const renewals = simulation.events.filter(({ kind }) => kind === "lease-renewed");
    assert.ok(renewals.length >= 3, `${renewals.length} renewals`);
    return logged;
  }

  test("a netmask that is missing is no option left out, and is told once", () => {
    const logged = warnings((payload) => replaceOption(payload, 1, 224));
    assert.deepEqual(
      logged.map(({ message }) => message),
      ["The lease has no netmask; that of its class is used"],
    );
  });

  test("an option that is malformed is told once", () => {
    // A router's address becomes an MTU of four bytes.
    const logged = warnings((payload) => replaceOption(payload, 3, 26));
    assert.deepEqual(
      logged.map(({ message, fields }) => [message, fields["option"], fields["problem"]]),
      [["Option of the lease left out", 26, "malformed"]],
    );
  });
});

/** The message with another code for an option. */
function replaceOption(payload: Uint8Array, from: number, to: number): Uint8Array {
  const changed = Uint8Array.from(payload);
  const reader = new ByteReader(payload);
  reader.bytes(240);
  while (reader.remaining > 1) {
    const at = payload.length - reader.remaining;
    const code = reader.u8();
    if (code === 255) break;
    if (code === from) changed[at] = to;
    reader.bytes(reader.u8());
  }
  return changed;
}
