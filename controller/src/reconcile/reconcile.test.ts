import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { PrefixLength } from "@mnm/proto/net";
import fc from "fast-check";
import { diffKernel } from "../testing/diff-kernel.js";
import { FakeKernel } from "../testing/fake-kernel.js";
import { ip, makeLink, makeUplink, prefix } from "../testing/make.js";
import { planRouting } from "../testing/plan-routing.js";
import type { Uplink } from "../uplink/index.js";
import { type Operation, Reconciler, renderOperation } from "./index.js";

function reconcile(kernel: FakeKernel, uplinks: readonly Uplink[]): string {
  kernel.log.length = 0;
  kernel.run(diffKernel(planRouting(uplinks), [], kernel.model));
  return kernel.log.join("\n");
}

/** The steps run one after another against one kernel: each starts where the last ended. */
describe("reconcile, as uplinks come and go", () => {
  const kernel = new FakeKernel([1, 2]);
  const moved = makeUplink(1, { with: { address: ip("10.1.0.7") } });
  const steps = [
    {
      name: "first uplink: fenced in before its address, rules before the default in main",
      uplinks: [makeUplink(1)],
      want: `
ip rule add priority 9500 lookup main suppress_prefixlength 0 protocol 77
ip rule add priority 10500 from 10.1.0.2 unreachable protocol 77
ip address replace 10.1.0.2/24 broadcast 10.1.0.255 dev wan1 noprefixroute valid_lft of the lease proto 77
ip route replace 10.1.0.0/24 table 7701 dev wan1 src 10.1.0.2 proto 77
ip route replace default table 7701 via 10.1.0.1 dev wan1 src 10.1.0.2 proto 77
ip rule add priority 9000 oif wan1 lookup 7701 protocol 77
ip rule add priority 10000 from 10.1.0.2 lookup 7701 protocol 77
ip rule add priority 21001 to 10.1.0.0/24 lookup 7701 protocol 77
ip route replace default table main metric 1001 via 10.1.0.1 dev wan1 src 10.1.0.2 proto 77`,
    },
    { name: "nothing changed: nothing to do", uplinks: [makeUplink(1)], want: "" },
    {
      name: "another address: the new one is complete before the old one goes",
      uplinks: [moved],
      want: `
ip rule add priority 10500 from 10.1.0.7 unreachable protocol 77
ip address replace 10.1.0.7/24 broadcast 10.1.0.255 dev wan1 noprefixroute valid_lft of the lease proto 77
ip route replace 10.1.0.0/24 table 7701 dev wan1 src 10.1.0.7 proto 77
ip route replace default table 7701 via 10.1.0.1 dev wan1 src 10.1.0.7 proto 77
ip rule add priority 10000 from 10.1.0.7 lookup 7701 protocol 77
ip route replace default table main metric 1001 via 10.1.0.1 dev wan1 src 10.1.0.7 proto 77
ip rule delete priority 10000 from 10.1.0.2 lookup 7701 protocol 77
ip address delete 10.1.0.2/24 dev wan1
ip rule delete priority 10500 from 10.1.0.2 unreachable protocol 77`,
    },
    {
      name: "another metric: the new default before the old one, the table stays",
      uplinks: [{ ...moved, metric: 5 }],
      want: `
ip rule add priority 20005 to 10.1.0.0/24 lookup 7701 protocol 77
ip route replace default table main metric 5 via 10.1.0.1 dev wan1 src 10.1.0.7 proto 77
ip route delete default table main metric 1001 dev wan1 proto 77
ip rule delete priority 21001 to 10.1.0.0/24 lookup 7701 protocol 77`,
    },
    {
      name: "a second uplink that is gone again leaves nothing",
      uplinks: [],
      want: `
ip route delete default table main metric 5 dev wan1 proto 77
ip rule delete priority 9500 lookup main suppress_prefixlength 0 protocol 77
ip rule delete priority 9000 oif wan1 lookup 7701 protocol 77
ip rule delete priority 10000 from 10.1.0.7 lookup 7701 protocol 77
ip rule delete priority 20005 to 10.1.0.0/24 lookup 7701 protocol 77
ip route delete default table 7701 dev wan1 proto 77
ip route delete 10.1.0.0/24 table 7701 dev wan1 proto 77
ip address delete 10.1.0.7/24 dev wan1
ip rule delete priority 10500 from 10.1.0.7 unreachable protocol 77`,
    },
  ];

  for (const { name, uplinks, want } of steps) {
    test(name, () => assert.equal(reconcile(kernel, uplinks), want.trim()));
  }
});

test("an exchange of metrics keeps a default of both uplinks in main at every moment", () => {
  const kernel = new FakeKernel([1, 2]);
  const [one, two] = [makeUplink(1), makeUplink(2)];
  reconcile(kernel, [one, two]);
  const swapped = [
    { ...one, metric: two.metric },
    { ...two, metric: one.metric },
  ];
  const operations = diffKernel(planRouting(swapped), [], kernel.model);
  for (const operation of operations) {
    kernel.run([operation]);
    const owners = [...kernel.model.routes.values()]
      .filter(({ table, destination }) => table === 254 && destination.length === 0)
      .map(({ ifindex }) => ifindex);
    assert.ok(owners.includes(one.link.ifindex), kernel.log.at(-1));
    assert.ok(owners.includes(two.link.ifindex), kernel.log.at(-1));
  }
  assert.equal(reconcile(kernel, swapped), "", "the temporary ones are gone");
});

/** Uplinks that collide in every way: same subnets, same addresses, /32, off-prefix gateways. */
const anyUplink = fc
  .record({
    n: fc.integer({ min: 1, max: 5 }),
    net: fc.integer({ min: 1, max: 2 }),
    host: fc.integer({ min: 2, max: 4 }),
    length: fc.constantFrom(24, 25, 30, 31, 32),
    gateway: fc.constantFrom("10.1.0.1", "10.9.9.9", undefined),
    metric: fc.integer({ min: 1, max: 8 }),
    carrier: fc.boolean(),
    dormant: fc.boolean(),
  })
  .map(({ n, net, host, length, gateway, metric, carrier, dormant }) =>
    makeUplink(n, {
      metric,
      carrier,
      dormant,
      with: {
        address: ip(`10.${net}.0.${host}`),
        length: length as PrefixLength,
        broadcast: undefined,
        gateway: gateway === undefined ? undefined : ip(gateway),
      },
    }),
  );
const anyUplinks = fc
  .uniqueArray(anyUplink, { selector: ({ metric }) => metric })
  .map((uplinks) => {
    const seen = new Set<number>();
    return uplinks.filter(({ table }) => !seen.has(table) && seen.add(table));
  });

test("diffKernel() converges in one round from any state to any other, in an order the kernel takes", () => {
  fc.assert(
    fc.property(anyUplinks, anyUplinks, (before, now) => {
      const kernel = new FakeKernel([1, 2, 3, 4, 5]);
      reconcile(kernel, before);
      reconcile(kernel, now);
      assert.equal(reconcile(kernel, now), "");
      reconcile(kernel, []);
      assert.deepEqual(kernel.ours, []);
    }),
    { numRuns: 300 },
  );
});

/** What may happen between two looks. */
const anyDisturbance = fc.record({
  uplinks: fc.option(anyUplinks, { nil: undefined }),
  /** Objects that another program removes, by their place among all. */
  removed: fc.array(fc.nat(30), { maxLength: 3 }),
  /** Whether what was to be done is done, or only seen. */
  isPerformed: fc.boolean(),
  linkGone: fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined, freq: 8 }),
  isAudited: fc.boolean(),
});

/** What happens to the kernel without our doing. */
function disturb(
  { model }: FakeKernel,
  {
    removed,
    linkGone,
  }: { readonly removed: readonly number[]; readonly linkGone?: number | undefined },
): void {
  const objects = [model.addresses, model.routes, model.rules].flatMap((map) =>
    [...map.keys()].map((key) => ({ map, key })),
  );
  for (const index of removed) objects[index]?.map.delete(objects[index].key);
  const { ifindex } = makeLink(linkGone ?? 0);
  if (model.links.has(ifindex)) model.apply({ kind: "link-gone", ifindex });
}

test("Reconciler comes to the same as diffKernel(), whatever happens in between", () => {
  fc.assert(
    fc.property(fc.array(anyDisturbance, { maxLength: 8 }), (disturbances) => {
      const kernel = new FakeKernel([1, 2, 3, 4, 5]);
      const reconciler = new Reconciler(kernel.model);
      let uplinks: readonly Uplink[] = [];
      for (const disturbance of disturbances) {
        uplinks = disturbance.uplinks ?? uplinks;
        disturb(kernel, disturbance);
        if (disturbance.isAudited) reconciler.audit();
        reconciler.plan(uplinks);
        const operations = reconciler.ordered(reconciler.operations());
        const whole = diffKernel(planRouting(uplinks), [], kernel.model);
        assert.deepEqual(rendered(operations), rendered(whole));
        // Without its link the fake kernel takes nothing.
        if (disturbance.isPerformed && kernel.model.links.size === 5) kernel.run(operations);
      }
    }),
    { numRuns: 500 },
  );
});

test("Reconciler wants nothing done when nothing changed", () => {
  const kernel = new FakeKernel([1, 2]);
  const reconciler = new Reconciler(kernel.model);
  const uplinks = [makeUplink(1), makeUplink(2)];
  reconciler.plan(uplinks);
  kernel.run(reconciler.ordered(reconciler.operations()));
  assert.deepEqual(reconciler.operations(), []);
  reconciler.plan(uplinks);
  assert.deepEqual(reconciler.operations(), []);
});

function rendered(operations: readonly Operation[]): readonly string[] {
  return operations.map(renderOperation).toSorted();
}

test("diffKernel() neither changes nor removes what does not carry our mark", () => {
  const kernel = new FakeKernel([1]);
  reconcile(kernel, [makeUplink(1)]);
  for (const map of [kernel.model.addresses, kernel.model.routes, kernel.model.rules]) {
    for (const [key, object] of map) map.set(key, { ...object, protocol: 16 } as never);
  }
  assert.deepEqual(diffKernel(planRouting([]), [], kernel.model), []);
});

test("a route in main that no run of ours can have put there is not asked to be removed", () => {
  const kernel = new FakeKernel([1]);
  reconcile(kernel, [makeUplink(1)]);
  const { routes } = kernel.model;
  const ours = [...routes.values()].find(({ table }) => table === 254);
  assert.ok(ours !== undefined);
  const destination = prefix("198.51.100.0/24");
  const metric = ours.metric + 1;
  routes.set("another", { ...ours, destination });
  routes.set("leftover", { ...ours, metric });
  assert.deepEqual(
    diffKernel(planRouting([makeUplink(1)]), [], kernel.model).map(renderOperation),
    ["ip route delete default table main metric 1002 dev wan1 proto 77"],
  );
});

test("the fence of an address that another program put there comes last and goes first", () => {
  const kernel = new FakeKernel([1]);
  const uplink = makeUplink(1, { with: { origin: "adopted" } });
  reconcile(kernel, [makeUplink(1)]);
  const [[key, address] = []] = kernel.model.addresses;
  assert.ok(key !== undefined && address !== undefined);
  for (const map of [kernel.model.routes, kernel.model.rules]) map.clear();
  kernel.model.addresses.set(key, { ...address, protocol: 0 });

  const adding = reconcile(kernel, [uplink]).split("\n");
  const at = (text: string) => adding.findIndex((line) => line.includes(text));
  assert.ok(at("10500 from 10.1.0.2 unreachable") > at("10000 from 10.1.0.2 lookup"));
  const removing = reconcile(kernel, []).split("\n");
  assert.match(removing[1] ?? "", /10500 from 10\.1\.0\.2 unreachable/);
  assert.ok(!removing.some((line) => line.startsWith("ip address")));
});

test("what has no link in the kernel and is not wanted goes from the tables of uplinks", () => {
  const kernel = new FakeKernel([1]);
  reconcile(kernel, [makeUplink(1)]);
  const { routes } = kernel.model;
  const ours = [...routes.values()].find(({ table }) => table === 7701);
  assert.ok(ours !== undefined);
  const orphan = { ...ours, ifindex: undefined, gateway: undefined, preferredSource: undefined };
  const add = (text: string, change: Partial<typeof ours>) =>
    kernel.notice({
      kind: "route",
      route: { ...orphan, destination: prefix(text), ...change },
    });
  add("198.51.100.0/24", { type: "blackhole", table: 7705 });
  add("198.51.100.0/25", { type: "unreachable" });
  add("198.51.100.0/26", { type: "throw", metric: 3 });
  // What the helper would not take away: another table, a kind it does not know, several links.
  add("203.0.113.0/24", { type: "blackhole", table: 5000 });
  add("203.0.113.0/25", { type: "blackhole", table: 254 });
  add("203.0.113.0/26", { type: "other" });
  add("203.0.113.0/27", { type: "unicast" });
  assert.equal(
    reconcile(kernel, [makeUplink(1)]),
    `ip route delete blackhole 198.51.100.0/24 table 7705 proto 77
ip route delete unreachable 198.51.100.0/25 table 7701 proto 77
ip route delete throw 198.51.100.0/26 table 7701 metric 3 proto 77`,
  );
  assert.equal(reconcile(kernel, [makeUplink(1)]), "");
});
