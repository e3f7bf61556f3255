import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatIpv4Prefix, type PrefixLength } from "@mnm/proto/net";
import { ip, makeLink, makeUplink, prefix } from "../testing/make.js";
import { planRouting } from "../testing/plan-routing.js";
import { collisionsOf, planSettings } from "./index.js";

function rulesOf(plan: ReturnType<typeof planRouting>): readonly string[] {
  return plan.rules.map(({ link, rule }) => `${link?.name ?? "-"} ${rule.kind}`);
}

describe("planRouting()", () => {
  test("plans nothing without uplinks, not even the shared rule", () => {
    assert.deepEqual(planRouting([]), { addresses: [], routes: [], rules: [] });
  });

  test("gives the rules by address to the lowest metric of two that share one", () => {
    const twin = { with: { address: ip("10.1.0.2"), gateway: ip("10.1.0.1") } };
    assert.deepEqual(rulesOf(planRouting([makeUplink(2, twin), makeUplink(1)])), [
      "- main-without-defaults",
      "wan2 device",
      "wan1 device",
      "wan1 source-unreachable",
      "wan1 source",
      "wan1 connected",
    ]);
  });

  test("moves the rules by address when their owner loses carrier", () => {
    const twin = { with: { address: ip("10.1.0.2"), gateway: ip("10.1.0.1") } };
    const plan = planRouting([makeUplink(1, { carrier: false }), makeUplink(2, twin)]);
    assert.ok(rulesOf(plan).includes("wan2 source"));
    assert.ok(!rulesOf(plan).includes("wan1 source"));
  });

  test("leaves a dormant uplink its address and its fence only", () => {
    const plan = planRouting([makeUplink(1, { dormant: true })]);
    assert.deepEqual(rulesOf(plan), ["- main-without-defaults", "wan1 source-unreachable"]);
    assert.equal(plan.addresses.length, 1);
    assert.equal(plan.routes.length, 0);
  });

  test("makes an off-prefix gateway of a /32 lease reachable by a host route", () => {
    const lte = {
      address: ip("100.71.4.9"),
      length: 32 as PrefixLength,
      gateway: ip("100.64.0.1"),
    };
    const { routes } = planRouting([makeUplink(1, { with: lte })]);
    const text = routes.map(
      (r) => `${r.table} ${formatIpv4Prefix(r.destination)} ${r.gateway ?? "-"}`,
    );
    const gateway = ip("100.64.0.1");
    assert.deepEqual(text, [
      "7701 100.64.0.1/32 -",
      `7701 0.0.0.0/0 ${gateway}`,
      `254 0.0.0.0/0 ${gateway}`,
    ]);
  });

  test("keeps a lease's routes out of main, where they could capture other links' traffic", () => {
    const half = { destination: prefix("0.0.0.0/1"), gateway: ip("10.1.0.1") };
    const { routes } = planRouting([makeUplink(1, { with: { routes: [half] } })]);
    const tables = routes
      .filter(({ destination }) => destination.length === 1)
      .map(({ table }) => table);
    assert.deepEqual(tables, [7701]);
  });

  test("lets no classless route replace the connected one", () => {
    const stolen = { destination: prefix("10.1.0.0/24"), gateway: ip("10.1.0.66") };
    const { routes } = planRouting([makeUplink(1, { with: { routes: [stolen] } })]);
    const connected = routes.filter(({ destination }) => destination.length === 24);
    assert.deepEqual(
      connected.map(({ gateway }) => gateway),
      [undefined],
    );
  });

  test("sends a point-to-point link's default to the device", () => {
    const ppp = makeUplink(1, {
      pointToPoint: true,
      with: { origin: "adopted", gateway: undefined },
    });
    const plan = planRouting([ppp]);
    assert.deepEqual(plan.addresses, [], "the address is pppd's");
    assert.equal(plan.routes.filter(({ destination }) => destination.length === 0).length, 2);
  });
});

describe("planSettings()", () => {
  const { settings } = makeLink(1);
  const overlapping = makeUplink(2, { with: { address: ip("10.1.0.9") } });
  const shared = makeUplink(2, { with: { address: ip("10.1.0.2") } });
  const always = { ignoreRoutesWithLinkdown: 1, promoteSecondaries: 1 };
  const cases = [
    { name: "always fails over and promotes", other: makeUplink(2), all: 1, want: always },
    {
      name: "answers ARP for its own address only where subnets overlap",
      other: overlapping,
      all: 1,
      want: { ...always, arpIgnore: 1, arpAnnounce: 2 },
    },
    {
      name: "loosens a strict filter where an address is shared",
      other: shared,
      all: 1,
      want: { ...always, arpIgnore: 1, arpAnnounce: 2, rpFilter: 2 },
    },
    {
      name: "leaves a filter alone that is not strict",
      other: shared,
      all: 2,
      want: { ...always, arpIgnore: 1, arpAnnounce: 2 },
    },
  ];
  for (const { name, other, all, want } of cases) {
    test(name, () => {
      const one = makeUplink(1);
      const collision = collisionsOf([one, other]).get(one);
      assert.deepEqual(planSettings(collision, settings, all), want);
    });
  }
});
