import assert from "node:assert/strict";
import { test } from "node:test";
import type { LinkName, MacAddress, PrefixLength } from "@mnm/proto/net";
import fc from "fast-check";
import { parseConfig } from "../config/index.js";
import type { KernelAddress } from "../reconcile/index.js";
import { EngineSimulation, makeWorld, type World } from "../testing/engine-simulation.js";
import { ip, makeLink, prefix } from "../testing/make.js";
import type { EngineEffect } from "./index.js";

const LINKS = [1, 2, 3, 4];
const anyLink = fc.constantFrom(...LINKS);
const anyMs = fc.constantFrom(0, 100, 300, 1_000, 3_500, 11_000, 70_000, 1_900_000);

/** What may befall a host; each is done to a simulation. */
type Incident = (simulation: EngineSimulation, world: World) => void;

/** An incident whose name a counterexample shows. */
function incident<T>(name: string, what: fc.Arbitrary<T>, act: (value: T) => Incident) {
  return what.map((value) => {
    const done = act(value);
    return Object.assign(done, { toString: () => `${name} ${JSON.stringify(value)}` });
  });
}

function foreignAddress(n: number, text: string): KernelAddress {
  return {
    ifindex: makeLink(n).ifindex,
    address: ip(text),
    length: 24 as PrefixLength,
    peer: undefined,
    broadcast: undefined,
    protocol: 0,
    noprefixroute: false,
    scope: 0,
    expiry: undefined,
  };
}

function configOf(text: string) {
  const parsed = parseConfig(text, "other.yaml");
  if (!parsed.ok) throw new SyntaxError(JSON.stringify(parsed.error));
  return parsed.value;
}

const CONFIGS = [
  'links: { "wan*": {} }',
  'unique: true\nlinks: { "wan*": {} }',
  'links: { "wan1": {}, "wan2": { method: static, address: 192.0.2.9/24, gateway: 192.0.2.1 }, "wan3": { metric: 7 } }',
].map(configOf);

const anyChange = fc.constantFrom(
  { mtu: 1400 },
  { mtu: 1500 },
  { carrier: false, operstate: "down" } as const,
  { carrier: true, operstate: "up" } as const,
  { adminUp: false, carrier: false, operstate: "down" } as const,
  { adminUp: true, carrier: true, operstate: "up" } as const,
  { master: makeLink(9).ifindex },
  { master: undefined },
  { settings: makeLink(1).settings },
  { mac: "02:00:00:00:77:77" as MacAddress },
);

const anyIncident: fc.Arbitrary<Incident> = fc.oneof(
  incident("time", anyMs, (ms) => (simulation) => simulation.advance(ms)),
  incident("time", anyMs, (ms) => (simulation) => simulation.advance(ms)),
  incident("change", fc.tuple(anyLink, anyChange), ([n, change]) => (simulation, { kernel }) => {
    // The fake kernel sets no new link up.
    if (kernel.model.links.has(makeLink(n).ifindex)) simulation.changeLink(n, change);
  }),
  incident("plug", anyLink, (n) => (simulation) => simulation.changeLink(n, {})),
  incident("unplug", anyLink, (n) => (simulation) => {
    simulation.notify({ kind: "link-gone", ifindex: makeLink(n).ifindex });
  }),
  incident("exchange", fc.tuple(anyLink, anyLink), ([n, m]) => (simulation, { kernel }) => {
    const { links } = kernel.model;
    const [a, b] = [links.get(makeLink(n).ifindex), links.get(makeLink(m).ifindex)];
    if (a === undefined || b === undefined || n === m) return;
    simulation.notify(
      { kind: "link", link: { ...a, name: "tmp" as LinkName } },
      { kind: "link", link: { ...b, name: a.name } },
      { kind: "link", link: { ...a, name: b.name } },
    );
  }),
  incident(
    "address",
    fc.tuple(anyLink, fc.constantFrom("10.0.1.100", "10.0.2.100", "10.9.9.9"), fc.boolean()),
    ([n, text, isThere]) =>
      (simulation) => {
        const address = foreignAddress(n, text);
        simulation.notify({ kind: isThere ? "address" : "address-gone", address });
      },
  ),
  incident("theft", fc.nat(40), (index) => (simulation, { kernel }) => {
    const routes = [...kernel.model.routes.values()];
    const route = routes[index];
    if (route !== undefined) simulation.notify({ kind: "route-gone", route });
    const rule = [...kernel.model.rules.values()][index];
    if (rule !== undefined) simulation.notify({ kind: "rule-gone", rule });
  }),
  incident(
    "foreign default",
    fc.tuple(anyLink, fc.integer({ min: 998, max: 1003 }), fc.boolean()),
    ([n, metric, isThere]) =>
      (simulation) => {
        const { ifindex } = makeLink(n);
        const base = { table: 254, type: "unicast", tos: 0, scope: 0, protocol: 16 } as const;
        const route = {
          ...base,
          destination: prefix("0.0.0.0/0"),
          metric,
          ifindex,
          gateway: ip("192.0.2.1"),
          preferredSource: undefined,
          mtu: undefined,
          onlink: true,
        };
        simulation.notify({ kind: isThere ? "route" : "route-gone", route });
      },
  ),
  incident("silence", anyLink, (n) => (_, { silentServers }) => {
    if (!silentServers.delete(n)) silentServers.add(n);
  }),
  incident("refusal", anyLink, (n) => (_, { refusingServers }) => {
    if (!refusingServers.delete(n)) refusingServers.add(n);
  }),
  incident("configuration", fc.nat(2), (index) => (simulation) => {
    const config = CONFIGS[index];
    if (config !== undefined) simulation.post({ kind: "config", config, file: "other.yaml" });
  }),
  incident("metric", fc.tuple(anyLink, fc.integer({ min: 999, max: 1004 })), ([n, metric]) => {
    const base = { kind: "set-metric", link: `wan${n}`, metric, swap: true } as const;
    return (simulation) =>
      simulation.post({ kind: "request", id: 1, request: { ...base, persist: false } });
  }),
  incident(
    "lease",
    fc.tuple(anyLink, fc.constantFrom("renew" as const, "release" as const, "reconnect" as const)),
    ([n, kind]) =>
      (simulation) =>
        simulation.post({ kind: "request", id: 2, request: { kind, link: `wan${n}` } }),
  ),
  incident("no helper", anyMs, (ms) => (simulation) => {
    simulation.post({ kind: "helper-lost", text: "test" });
    simulation.advance(ms);
    simulation.post({ kind: "helper-ready", helper: { version: "0", capabilities: [] } });
  }),
  incident("overrun", fc.constant(""), (text) => (simulation) => {
    simulation.post({ kind: "overrun", text });
  }),
  incident("suspend", anyMs, (ms) => (simulation) => simulation.suspend(ms)),
  incident("stop", fc.constant(""), () => (simulation) => simulation.post({ kind: "stop" })),
);

/** The effect as text. Of operations that do not depend on one another, either may be first. */
function textOf(effect: EngineEffect): string {
  return JSON.stringify(effect, (key, value: unknown) => {
    const isUnordered = key === "operations" || key === "changes";
    if (!isUnordered || !Array.isArray(value)) return value;
    return value.map((each: unknown) => JSON.stringify(each)).toSorted();
  });
}

/** All effects, with the time of each. */
function effectsOf(incidents: readonly Incident[], isThorough: boolean): readonly string[] {
  const world = makeWorld(LINKS);
  // Two servers give out the same address.
  const addressOf = (n: number) => world.addressOf(n === 4 ? 3 : n);
  const crowded = { ...world, addressOf, leaseSec: 600 };
  const effects: string[] = [];
  const simulation = new EngineSimulation(crowded, undefined, {
    isThorough,
    onEffect: (effect) => effects.push(`${crowded.now} ${textOf(effect)}`),
  });
  for (const act of incidents) {
    act(simulation, crowded);
    effects.push(JSON.stringify(simulation.status.links), `wake at ${simulation.deadline}`);
  }
  return effects;
}

test("looking at those links only that something happened to comes to the same as looking at all", () => {
  fc.assert(
    fc.property(fc.array(anyIncident, { maxLength: 14 }), (incidents) => {
      assert.deepEqual(effectsOf(incidents, false), effectsOf(incidents, true));
    }),
    { numRuns: 60 },
  );
});

/** Microseconds that an event takes with that many links, and one after it that changes it back. */
function stopwatch(count: number): () => number {
  const world = makeWorld(Array.from({ length: count }, (_, index) => index + 1));
  const simulation = new EngineSimulation(world);
  simulation.advance(5_000);
  return () => {
    const start = process.hrtime.bigint();
    simulation.changeLink(1, { mtu: 1400 });
    simulation.changeLink(1, { mtu: 1500 });
    simulation.post({ kind: "wake" });
    return Number(process.hrtime.bigint() - start) / 1000;
  };
}

test("a change of one link, and a wake, cost the same beside forty links and beside eight hundred", (t) => {
  const [few, many] = [stopwatch(40), stopwatch(800)];
  const samples = Array.from({ length: 300 }, () => [few(), many()] as const).slice(100);
  const median = (values: readonly number[]) =>
    values.toSorted((a, b) => a - b)[values.length / 2] ?? 0;
  const [fewUs, manyUs] = [median(samples.map(([us]) => us)), median(samples.map(([, us]) => us))];
  t.diagnostic(`${fewUs.toFixed(0)} and ${manyUs.toFixed(0)} us`);
  // Twenty times as many links; a look at each of them would cost ten times as much.
  assert.ok(manyUs < 3 * fewUs, `${fewUs} and ${manyUs} us`);
});
