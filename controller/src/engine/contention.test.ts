import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { KernelNotification, KernelRule } from "../reconcile/index.js";
import { EngineSimulation, makeWorld, type World } from "../testing/engine-simulation.js";
import { makeLink } from "../testing/make.js";

const IFINDEX = makeLink(1).ifindex;

function ruleOf(world: World, priority: number): KernelRule | undefined {
  return [...world.kernel.model.rules.values()].find((rule) => rule.priority === priority);
}

/** Another program that removes what it dislikes whenever it appears, a little later. */
class Fighter {
  readonly #simulation: EngineSimulation;
  readonly #world: World;
  readonly #dislikes: () => KernelNotification | undefined;
  /** The whole seconds between its strikes, rounded. */
  readonly gapsSec: number[] = [];
  #lastAt: number | undefined;

  constructor(
    simulation: EngineSimulation,
    world: World,
    dislikes: () => KernelNotification | undefined,
  ) {
    this.#simulation = simulation;
    this.#world = world;
    this.#dislikes = dislikes;
  }

  /** Fights for that long. */
  fight(ms: number): void {
    const until = this.#world.now + ms;
    while (this.#world.now < until) {
      const notification = this.#dislikes();
      if (notification !== undefined) {
        this.#simulation.notify(notification);
        const { now } = this.#world;
        if (this.#lastAt !== undefined) {
          this.gapsSec.push(Math.round((now - this.#lastAt) / 100) / 10);
        }
        this.#lastAt = now;
      }
      this.#simulation.advance(50);
    }
  }
}

function begin(links: readonly number[] = [1]) {
  const world = makeWorld(links);
  const simulation = new EngineSimulation(world);
  const kinds = (kind: string) => simulation.events.filter((event) => event.kind === kind);
  return { world, simulation, kinds };
}

/** Fights over the rule of that priority. */
function fighterOf(simulation: EngineSimulation, world: World, priority: number): Fighter {
  return new Fighter(simulation, world, () => {
    const rule = ruleOf(world, priority);
    return rule === undefined ? undefined : { kind: "rule-gone", rule, requester: 612 };
  });
}

describe("contention", () => {
  test("five repairs within a minute are put up with, the sixth makes it a fight", () => {
    const { world, simulation, kinds } = begin();
    const fighter = fighterOf(simulation, world, 10_000);
    for (let repairs = 1; repairs <= 5; repairs += 1) {
      fighter.fight(50);
      simulation.advance(400);
    }
    assert.deepEqual(kinds("contended"), []);
    assert.equal(kinds("external-change").length, 5);
    fighter.fight(50);
    simulation.advance(400);
    const [event, ...others] = kinds("contended");
    assert.equal(others.length, 0);
    assert.equal(event?.link?.name, "wan1");
    assert.equal(event?.after, "rule priority 10000 from 10.0.1.100 lookup 7701");
    assert.deepEqual(simulation.culpritsSought, [612]);
  });

  test("six repairs in more than a minute are none", () => {
    const { world, simulation, kinds } = begin();
    const fighter = fighterOf(simulation, world, 10_000);
    for (let repairs = 1; repairs <= 30; repairs += 1) {
      fighter.fight(50);
      simulation.advance(12_000);
    }
    assert.deepEqual(kinds("contended"), []);
    assert.equal(kinds("external-change").length, 30);
  });

  test("is put back after 0.25 s, then after 1, 2, 4 … 60 s; told once", () => {
    const { world, simulation, kinds } = begin();
    const fighter = fighterOf(simulation, world, 10_000);
    fighter.fight(400_000);
    assert.deepEqual(
      fighter.gapsSec.map((gap) => (gap < 1 ? gap : Math.round(gap))),
      [0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60],
    );
    assert.equal(kinds("contended").length, 1);
    assert.equal(kinds("uncontended").length, 0);
    const [link] = simulation.status.links;
    assert.equal(link?.contended[0]?.repairs, 17);
  });

  test("ends when the object has stayed untouched for a minute, and may begin anew", () => {
    const { world, simulation, kinds } = begin();
    const fighter = fighterOf(simulation, world, 10_000);
    fighter.fight(10_000);
    simulation.advance(8_000 + 55_000);
    assert.equal(simulation.status.links[0]?.contended.length, 1);
    assert.equal(kinds("uncontended").length, 0);
    simulation.advance(10_000);
    assert.equal(kinds("uncontended")[0]?.before, kinds("contended")[0]?.after);
    assert.equal(simulation.status.links[0]?.contended.length, 0);
    assert.ok(!simulation.status.warnings.some(({ text }) => text.startsWith("contended")));
    fighter.fight(2_000);
    assert.equal(kinds("contended").length, 2);
  });

  test("leaves all other objects to be healed at once, of the same link as well", () => {
    const { world, simulation } = begin();
    const fighter = fighterOf(simulation, world, 10_500);
    fighter.fight(60_000);
    assert.equal(ruleOf(world, 10_500), undefined, "it is waited with");
    const others = () =>
      world.kernel.ours.filter((key) => !key.includes("priority 10500")).toSorted();
    const whole = others();
    const batch: KernelNotification[] = [];
    for (const rule of [9000, 9500, 10_000].map((priority) => ruleOf(world, priority))) {
      if (rule !== undefined) batch.push({ kind: "rule-gone", rule });
    }
    for (const route of world.kernel.model.routes.values()) {
      if (route.protocol === 77) batch.push({ kind: "route-gone", route });
    }
    assert.ok(batch.length >= 6);
    simulation.notify(...batch);
    assert.notDeepEqual(others(), whole);
    simulation.advance(300);
    assert.deepEqual(others(), whole);
    assert.equal(ruleOf(world, 10_500), undefined, "it is still waited with");
  });

  test("what the kernel takes along with an address is no fight of its own", () => {
    const { world, simulation, kinds } = begin();
    const fighter = new Fighter(simulation, world, () => {
      const [address] = world.kernel.model.addresses.values();
      return address === undefined ? undefined : { kind: "address-gone", address };
    });
    // As the kernel does when the last address of a link goes: silently.
    const takeRoutes = () => {
      for (const [key, route] of world.kernel.model.routes) {
        if (route.ifindex === IFINDEX) world.kernel.model.routes.delete(key);
      }
    };
    for (let round = 0; round < 200; round += 1) {
      if (world.kernel.model.addresses.size > 0) takeRoutes();
      fighter.fight(100);
    }
    assert.deepEqual(
      kinds("contended").map(({ after }) => after),
      ["address 10.0.1.100/24 dev wan1"],
    );
    const left = world.kernel.ours.map((key) => key.split(" ").slice(0, 3).join(" "));
    assert.deepEqual(
      left.filter((key) => !key.startsWith("rule")),
      [],
      "routes wait for the address that they need",
    );
    assert.equal(left.length, 5, "rules do not");
  });

  test("a link that is set down and up again and again is no fight", () => {
    const { simulation, kinds } = begin();
    const down = { adminUp: false, carrier: false, operstate: "down" } as const;
    const up = { adminUp: true, carrier: true, operstate: "up" } as const;
    for (let flaps = 0; flaps < 20; flaps += 1) {
      simulation.changeLink(1, down);
      simulation.advance(100);
      simulation.changeLink(1, up);
      simulation.advance(500);
    }
    assert.deepEqual(kinds("contended"), []);
  });

  test("settings that somebody keeps changing are put back after a moment, and a fight as well", () => {
    const { world, simulation, kinds } = begin();
    const { settings } = world.kernel.model.links.get(IFINDEX) ?? makeLink(1);
    assert.equal(settings.ignoreRoutesWithLinkdown, 1);
    const heldOf = () =>
      world.kernel.model.links.get(IFINDEX)?.settings.ignoreRoutesWithLinkdown ?? -1;
    const strike = () =>
      simulation.changeLink(1, { settings: { ...settings, ignoreRoutesWithLinkdown: 0 } });
    strike();
    simulation.advance(200);
    assert.equal(heldOf(), 0);
    simulation.advance(100);
    assert.equal(heldOf(), 1);
    assert.equal(kinds("external-change").length, 1);
    for (let rounds = 0; rounds < 5; rounds += 1) {
      strike();
      simulation.advance(300);
    }
    assert.equal(kinds("contended").length, 1);
    assert.equal(
      kinds("contended")[0]?.after,
      "ipv4 settings of wan1: ignore_routes_with_linkdown=1",
    );
  });

  test("a link that goes takes its fights with it", () => {
    const { world, simulation } = begin();
    fighterOf(simulation, world, 9000).fight(10_000);
    assert.equal(simulation.status.links[0]?.contended.length, 1);
    simulation.notify({ kind: "link-gone", ifindex: IFINDEX });
    simulation.advance(200_000);
    assert.ok(!simulation.events.some(({ kind }) => kind === "uncontended"));
    assert.ok(!simulation.status.warnings.some(({ text }) => text.startsWith("contended")));
  });

  test("a reload tries again at once", () => {
    const { world, simulation } = begin();
    fighterOf(simulation, world, 10_000).fight(60_000);
    assert.equal(ruleOf(world, 10_000), undefined);
    simulation.post({ kind: "config", config: simulation.config, file: "test.yaml" });
    assert.ok(ruleOf(world, 10_000));
  });

  test("a metric is changed although another link's default is fought over", () => {
    const { world, simulation } = begin([1, 2]);
    const fighter = new Fighter(simulation, world, () => {
      const route = [...world.kernel.model.routes.values()].find(
        ({ table, ifindex }) => table === 254 && ifindex === IFINDEX,
      );
      return route === undefined ? undefined : { kind: "route-gone", route };
    });
    fighter.fight(60_000);
    assert.equal(simulation.status.defaultLink, "wan2");
    const request = {
      kind: "set-metric",
      link: "wan2",
      metric: 5,
      swap: false,
      persist: false,
    } as const;
    simulation.post({ kind: "request", id: 1, request });
    assert.equal(simulation.replies[0]?.kind, "metric-set");
  });

  test("a link that comes is usable although what all share is fought over", () => {
    const { world, simulation, kinds } = begin([1]);
    fighterOf(simulation, world, 9500).fight(60_000);
    assert.equal(kinds("contended")[0]?.link, undefined);
    assert.equal(simulation.status.contended.length, 1);
    simulation.notify({ kind: "link", link: makeLink(2) });
    assert.ok(kinds("uplink-usable").some(({ link }) => link?.name === "wan2"));
    assert.equal(ruleOf(world, 9500), undefined);
  });

  const culprits = [
    {
      name: "systemd-networkd by name",
      culprit: { kind: "program", name: "systemd-networkd", pid: 612 },
      want: /^contended: systemd-networkd \(pid 612\) keeps changing rule .*; set ManageForeignRoutingPolicyRules=no and ManageForeignRoutes=no in networkd\.conf/,
    },
    {
      name: "NetworkManager by name",
      culprit: { kind: "program", name: "NetworkManager", pid: 7 },
      want: /put interface-name:wan1 into unmanaged-devices in NetworkManager\.conf/,
    },
    {
      name: "a program that nobody knows",
      culprit: { kind: "program", name: "vpnd", pid: 8 },
      want: /contended: vpnd \(pid 8\) .*; keep that program away from wan1, or give it the link with `mode: ignore`/,
    },
    {
      name: "a short-lived one, perhaps dhclient's",
      culprit: { kind: "short-lived", suspects: ["dhclient"] },
      want: /contended: a short-lived program, such as ip in a script \(running here: dhclient\) .*; if it is dhclient: keep dhclient away from wan1/,
    },
    {
      name: "nobody that can be told",
      culprit: { kind: "unknown", suspects: [] },
      want: /^contended: another program keeps changing rule priority 10000 /,
    },
  ] as const;
  for (const { name, culprit, want } of culprits) {
    test(`status names ${name}, and what to do`, () => {
      const { world, simulation } = begin();
      simulation.culprit = culprit;
      fighterOf(simulation, world, 10_000).fight(5_000);
      const warning = simulation.status.warnings.find(({ link }) => link === "wan1");
      assert.match(warning?.text ?? "", want);
    });
  }

  test("one warning a link, however many objects are fought over", () => {
    const { world, simulation, kinds } = begin();
    const fighters = [9000, 10_000].map((priority) => fighterOf(simulation, world, priority));
    for (let rounds = 0; rounds < 50; rounds += 1)
      for (const fighter of fighters) fighter.fight(50);
    assert.equal(kinds("contended").length, 2);
    const texts = simulation.status.warnings.map(({ text }) => text);
    assert.equal(texts.length, 1);
    assert.match(texts[0] ?? "", / and 1 more; /);
  });
});
