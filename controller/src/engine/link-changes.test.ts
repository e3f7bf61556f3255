import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { LinkName, MacAddress } from "@mnm/proto/net";
import type { Link } from "../link/index.js";
import { EngineSimulation, makeWorld } from "../testing/engine-simulation.js";
import { makeLink } from "../testing/make.js";
import type { EngineEffect } from "./index.js";

const DOWN = { adminUp: false, carrier: false, operstate: "down" } as const;

describe("a link that is set down, and up again before anybody looks", () => {
  test("gets its routes back at once, and no program is accused of the kernel's doing", () => {
    const world = makeWorld([1, 2]);
    const simulation = new EngineSimulation(world);
    simulation.advance(5_000);
    const before = world.kernel.ours;
    const told = simulation.events.length;
    const { routes } = world.kernel.model;
    for (const [key, { ifindex }] of routes) {
      if (ifindex === makeLink(1).ifindex) routes.delete(key);
    }
    const link = world.kernel.model.links.get(makeLink(1).ifindex) ?? makeLink(1);
    simulation.notify({ kind: "link", link: { ...link, ...DOWN } }, { kind: "link", link });
    assert.deepEqual(world.kernel.ours, before);
    const kinds = simulation.events.slice(told).map(({ kind }) => kind);
    assert.ok(!kinds.includes("external-change"), kinds.join());
  });
});

describe("links that exchange their names", () => {
  test("are told as renamed; that a metric belongs to a name is no change of metric", () => {
    const world = makeWorld([1, 2]);
    const simulation = new EngineSimulation(world);
    simulation.advance(5_000);
    const told = simulation.events.length;
    const linkAt = (n: number): Link =>
      world.kernel.model.links.get(makeLink(n).ifindex) ?? makeLink(n);
    const [one, two] = [linkAt(1), linkAt(2)];
    simulation.notify(
      { kind: "link", link: { ...one, name: "tmp" as LinkName } },
      { kind: "link", link: { ...two, name: one.name } },
      { kind: "link", link: { ...one, name: two.name } },
    );
    simulation.advance(5_000);
    const metrics = simulation.status.links.map(({ link, managed }) => [
      link.name,
      link.ifindex,
      managed?.metric?.value,
    ]);
    assert.deepEqual(metrics, [
      ["wan1", two.ifindex, 1000],
      ["wan2", one.ifindex, 1001],
    ]);
    const events = simulation.events.slice(told).map(({ kind }) => kind);
    assert.ok(events.includes("link-renamed"), events.join());
    assert.ok(!events.includes("metric-changed"), events.join());
    // One that an operator changes is told as before.
    const request = { kind: "set-metric", link: "wan1", metric: 5, swap: false } as const;
    simulation.post({ kind: "request", id: 1, request: { ...request, persist: false } });
    assert.equal(simulation.events.filter(({ kind }) => kind === "metric-changed").length, 1);
  });
});

const MESSAGES = new Map([
  [1, "DISCOVER"],
  [3, "REQUEST"],
  [7, "RELEASE"],
]);

/** Type, chaddr and client identifier of a DHCP message, RFC 2131 §2 and RFC 2132 §9. */
function textOf(payload: Uint8Array): string {
  const options = new Map<number, Uint8Array>();
  for (let at = 240; payload[at] !== 255; at += 2 + (payload[at + 1] ?? 0)) {
    options.set(payload[at] ?? 0, payload.subarray(at + 2, at + 2 + (payload[at + 1] ?? 0)));
  }
  const hex = (bytes: Uint8Array = new Uint8Array()) => Buffer.from(bytes).toString("hex");
  const message = MESSAGES.get(options.get(53)?.[0] ?? 0);
  return `${message} of ${hex(payload.subarray(28, 34))} as ${hex(options.get(61))}`;
}

describe("a link whose MAC changes while it has a lease", () => {
  const mac = "02:00:00:12:34:56" as MacAddress;

  /** What leaves and is told once link 1 has another MAC. */
  function change(config?: string) {
    const world = makeWorld([1]);
    const sent: EngineEffect[] = [];
    const simulation = new EngineSimulation(world, config, {
      onEffect: (effect) => sent.push(effect),
    });
    simulation.advance(60_000);
    sent.length = 0;
    const told = simulation.events.length;
    simulation.changeLink(1, { mac });
    simulation.advance(2_000);
    const dhcp = sent.flatMap((effect) => (effect.kind === "send-dhcp" ? [effect] : []));
    return {
      world,
      sent: dhcp.map(({ payload }) => textOf(payload)),
      events: simulation.events.slice(told).map(({ kind }) => kind),
      state: simulation.status.links[0]?.state,
    };
  }

  test("is another client to the server: it gives the old lease back and asks for one of its own", () => {
    const { sent, events, state, world } = change();
    assert.deepEqual(sent, [
      "RELEASE of 020000123456 as 01020000000001",
      "DISCOVER of 020000123456 as 01020000123456",
      "REQUEST of 020000123456 as 01020000123456",
    ]);
    assert.equal(events[0], "lease-expired");
    assert.ok(events.includes("lease-bound"), events.join());
    assert.equal(state, "usable");
    assert.deepEqual([...world.leases.keys()], ["name:wan1"]);
  });

  test("is the same client under a configured identifier: its lease is checked, and stays", () => {
    const { sent, events } = change('links: { wan1: { client_id: "01:02:03:04" } }');
    assert.deepEqual(sent, ["REQUEST of 020000123456 as 01020304"]);
    assert.ok(!events.includes("lease-expired"), events.join());
  });
});
