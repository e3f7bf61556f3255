import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EngineSimulation, makeWorld, type World } from "../testing/engine-simulation.js";
import { makeLink } from "../testing/make.js";
import type { EngineReply } from "./messages.js";

const NO_CARRIER = { carrier: false, operstate: "down" } as const;
const CARRIER = { carrier: true, operstate: "up" } as const;
const GIVEN_UP = { address: "10.0.1.100/24", server: "10.0.1.1", serverTold: true };

type Kind = "renew" | "release" | "reconnect";

function ask(simulation: EngineSimulation, kind: Kind, link = "wan1"): EngineReply | undefined {
  const before = simulation.replies.length;
  simulation.post({ kind: "request", id: 1, request: { kind, link } });
  return simulation.replies[before];
}

function stateOf(simulation: EngineSimulation, name = "wan1"): string | undefined {
  return simulation.status.links.find(({ link }) => link.name === name)?.state;
}

function counterOf(simulation: EngineSimulation, counter: string): number | undefined {
  return simulation.status.links[0]?.managed?.counters.get(counter);
}

function heldOf(world: World): readonly string[] {
  return world.kernel.ours.filter((key) => /10\.0\.1\.|7701|wan1/.test(key));
}

/** A link that was released, and the kernel has followed. */
function released(): { readonly world: World; readonly simulation: EngineSimulation } {
  const world = makeWorld([1, 2]);
  const simulation = new EngineSimulation(world);
  ask(simulation, "release");
  simulation.advance(1_000);
  return { world, simulation };
}

describe("release", () => {
  test("tells the server while the address is there, then withdraws all of it, then answers", () => {
    const world = makeWorld([1, 2]);
    const simulation = new EngineSimulation(world);
    assert.equal(ask(simulation, "release"), undefined, "not before the kernel is clean");
    assert.deepEqual(simulation.unicasts, ["wan1 from 10.0.1.100"]);
    assert.equal(stateOf(simulation), "released");
    assert.ok(heldOf(world).length > 0, "the RELEASE may still wait for the server's MAC");
    simulation.advance(1_000);
    assert.deepEqual(heldOf(world), []);
    assert.deepEqual(simulation.replies, [{ kind: "released", givenUp: GIVEN_UP }]);
    assert.equal(simulation.status.defaultLink, "wan2");
    assert.ok(!world.leases.has("name:wan1"), "the stored lease is forgotten");
  });

  test("is told: the lease and the uplink, because an operator asked for it", () => {
    const { simulation } = released();
    const told = simulation.events.filter(({ reason }) => reason === "operator");
    assert.deepEqual(
      told.map(({ kind, text }) => `${kind}: ${text}`),
      [
        "lease-expired: lease of 10.0.1.100/24 given back to 10.0.1.1",
        "uplink-unusable: unusable: lease given up",
      ],
    );
    assert.deepEqual(
      simulation.status.warnings.map(({ link, text }) => `${link}: ${text}`),
      ["wan1: released (mnmctl reconnect wan1 brings it back)"],
    );
  });

  test("lasts while carrier goes and comes, and keeps table and metric", () => {
    const { simulation } = released();
    simulation.changeLink(1, NO_CARRIER);
    simulation.advance(60_000);
    assert.equal(stateOf(simulation), "released");
    simulation.changeLink(1, CARRIER);
    simulation.advance(60_000);
    assert.equal(stateOf(simulation), "released");
    assert.equal(counterOf(simulation, "sent-discover"), 1, "the one before");
    const { managed } = simulation.status.links[0] ?? {};
    assert.equal(managed?.table, 7701);
    assert.equal(managed?.metric?.value, 1000);
  });

  test("lasts while the link is unplugged and plugged in again", () => {
    const { simulation } = released();
    simulation.notify({ kind: "link-gone", ifindex: makeLink(1).ifindex });
    simulation.notify({ kind: "link", link: { ...makeLink(1), ifindex: makeLink(7).ifindex } });
    simulation.advance(60_000);
    assert.equal(stateOf(simulation), "released");
  });

  test("ends with the controller", () => {
    const { world } = released();
    assert.equal(stateOf(new EngineSimulation(world)), "usable");
  });

  test("without carrier the server cannot be told, and the answer says so", () => {
    const simulation = new EngineSimulation(makeWorld([1]));
    simulation.changeLink(1, NO_CARRIER);
    const reply = ask(simulation, "release");
    assert.deepEqual(reply, { kind: "released", givenUp: { ...GIVEN_UP, serverTold: false } });
    assert.deepEqual(simulation.unicasts, []);
    assert.equal(stateOf(simulation), "released");
  });

  test("without a lease there is nothing to give up, and the link stays released", () => {
    const world = makeWorld([1]);
    world.silentServers.add(1);
    const simulation = new EngineSimulation(world);
    assert.deepEqual(ask(simulation, "release"), { kind: "released", givenUp: undefined });
    world.silentServers.clear();
    simulation.advance(120_000);
    assert.equal(stateOf(simulation), "released");
    assert.deepEqual(ask(simulation, "release"), { kind: "released", givenUp: undefined });
  });

  test("of a lease that waits for carrier forgets it, and says that the server has it still", () => {
    const world = makeWorld([1]);
    const simulation = new EngineSimulation(world);
    simulation.changeLink(1, NO_CARRIER);
    simulation.advance(10_000);
    assert.ok(world.leases.has("name:wan1"));
    const givenUp = { ...GIVEN_UP, serverTold: false };
    assert.deepEqual(ask(simulation, "release"), { kind: "released", givenUp });
    assert.ok(!world.leases.has("name:wan1"));
    const ended = simulation.events.filter(({ kind }) => kind === "lease-expired");
    assert.deepEqual(ended, [], "it had ended with the carrier");
  });

  test("of a lease that has run out while it waited for carrier gives nothing up", () => {
    const simulation = new EngineSimulation(makeWorld([1]));
    simulation.changeLink(1, NO_CARRIER);
    simulation.advance(3_600_000);
    assert.deepEqual(ask(simulation, "release"), { kind: "released", givenUp: undefined });
  });

  test("a kernel that does not follow is a timeout, not silence", () => {
    const simulation = new EngineSimulation(makeWorld([1]));
    simulation.deafHelper = true;
    ask(simulation, "release");
    simulation.advance(10_000);
    const [reply] = simulation.replies;
    assert.deepEqual(reply?.kind === "refused" ? reply.fault.code : reply, "timeout");
  });

  for (const kind of ["renew", "reconnect"] as const) {
    test(`is undone by ${kind}`, () => {
      const { simulation } = released();
      ask(simulation, kind);
      assert.equal(stateOf(simulation), "usable");
      assert.equal(counterOf(simulation, "sent-discover"), 2);
      assert.deepEqual(simulation.status.warnings, []);
    });
  }

  test("is undone by a reload", () => {
    const { simulation } = released();
    const config = { ...simulation.config };
    const request = { kind: "reload", config, file: "test.yaml" } as const;
    simulation.post({ kind: "request", id: 2, request });
    assert.equal(stateOf(simulation), "usable");
  });
});

describe("reconnect", () => {
  test("gives the lease back and begins with a DISCOVER at once", () => {
    const simulation = new EngineSimulation(makeWorld([1]));
    const reply = ask(simulation, "reconnect");
    assert.deepEqual(reply, { kind: "reconnecting", givenUp: GIVEN_UP });
    assert.deepEqual(simulation.unicasts, ["wan1 from 10.0.1.100"]);
    assert.equal(counterOf(simulation, "sent-discover"), 2);
    simulation.advance(1_000);
    assert.equal(stateOf(simulation), "usable");
  });

  test("a lease with another address takes the place of the old one, all of it", () => {
    const world = makeWorld([1]);
    let address = world.addressOf(1);
    const simulation = new EngineSimulation({ ...world, addressOf: () => address });
    address = (address + 1) as typeof address;
    ask(simulation, "reconnect");
    simulation.advance(1_000);
    assert.equal(stateOf(simulation), "usable");
    assert.ok(world.kernel.ours.some((key) => key.includes("10.0.1.101")));
    assert.deepEqual(
      world.kernel.ours.filter((key) => key.includes("10.0.1.100")),
      [],
    );
  });

  test("forgets the wait after a refusal", () => {
    const world = makeWorld([1, 2]);
    const first = world.addressOf(1);
    let ofWan2 = first;
    const addressOf = (n: number) => (n === 1 ? first : ofWan2);
    const config = 'links: { "wan*": {} }\nunique: true';
    const simulation = new EngineSimulation({ ...world, addressOf }, config);
    const dhcpState = () => simulation.status.links[1]?.managed?.dhcpState;
    assert.equal(dhcpState(), "init", "waits 10 s after its DECLINE");
    ofWan2 = world.addressOf(2);
    const reply = ask(simulation, "reconnect", "wan2");
    assert.deepEqual(reply, { kind: "reconnecting", givenUp: undefined });
    assert.equal(dhcpState(), "bound");
  });

  test("a silent server leaves the link without the old address", () => {
    const world = makeWorld([1]);
    const simulation = new EngineSimulation(world);
    world.silentServers.add(1);
    ask(simulation, "reconnect");
    simulation.advance(1_000);
    assert.equal(stateOf(simulation), "configuring");
    assert.deepEqual(heldOf(world), []);
    const lost = simulation.events.find(({ kind }) => kind === "uplink-unusable");
    assert.equal(lost?.reason, "operator");
  });
});

describe("refusals", () => {
  const rows: readonly {
    readonly name: string;
    readonly kind: Kind;
    readonly link: string;
    readonly prepare?: (simulation: EngineSimulation) => void;
    readonly want: string;
  }[] = [
    { name: "no such link", kind: "release", link: "wan9", want: "no-such-link" },
    { name: "loopback", kind: "renew", link: "lo", want: "loopback" },
    { name: "a static link", kind: "reconnect", link: "wan2", want: "no-dhcp" },
    {
      name: "no helper",
      kind: "release",
      link: "wan1",
      prepare: (simulation) => simulation.post({ kind: "helper-lost", text: "gone" }),
      want: "helper-unavailable",
    },
    {
      name: "no carrier",
      kind: "reconnect",
      link: "wan1",
      prepare: (simulation) => simulation.changeLink(1, NO_CARRIER),
      want: "no-carrier",
    },
  ];
  const config =
    "links: { wan1: {}, wan2: { method: static, address: 10.0.2.50/24, gateway: 10.0.2.1 } }";
  for (const { name, kind, link, prepare, want } of rows) {
    test(`${kind}: ${name}`, () => {
      const simulation = new EngineSimulation(makeWorld([1, 2]), config);
      const lo = { ...makeLink(3), name: "lo", loopback: true };
      simulation.notify({ kind: "link", link: lo as ReturnType<typeof makeLink> });
      prepare?.(simulation);
      const reply = ask(simulation, kind, link);
      assert.equal(reply?.kind === "refused" ? reply.fault.code : reply, want);
    });
  }
});

test("on_stop: release tells the servers first, and ends with a clean kernel", () => {
  const world = makeWorld([1, 2]);
  const simulation = new EngineSimulation(world, 'links: { "wan*": {} }\non_stop: release');
  simulation.post({ kind: "stop" });
  simulation.advance(1_000);
  assert.deepEqual(simulation.unicasts, ["wan1 from 10.0.1.100", "wan2 from 10.0.2.100"]);
  assert.deepEqual(world.kernel.ours, []);
  assert.ok(simulation.hasExited);
});
