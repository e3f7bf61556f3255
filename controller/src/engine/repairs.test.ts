import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Instant, PrefixLength } from "@mnm/proto/net";
import {
  addressKey,
  type KernelAddress,
  type ModelChange,
  type Operation,
  operationKey,
} from "../reconcile/index.js";
import { ip, makeLink, makeUplink, prefix } from "../testing/make.js";
import type { Refusal } from "./messages.js";
import { Repairs } from "./repairs.js";

const LINK = makeLink(1);
const LENGTH = 24 as PrefixLength;
const HELD: KernelAddress = {
  ifindex: LINK.ifindex,
  address: ip("10.1.0.2"),
  peer: undefined,
  length: LENGTH,
  broadcast: undefined,
  scope: 0,
  protocol: 77,
  noprefixroute: true,
  expiry: 10_000 as Instant,
};
const KEY = addressKey(LINK.ifindex, HELD.address, LENGTH);
const PUT_ROUTE: Operation & { kind: "put-route" } = {
  kind: "put-route",
  link: makeUplink(1).link,
  route: {
    link: makeUplink(1).link,
    table: 7701,
    destination: prefix("0.0.0.0/0"),
    metric: 0,
    gateway: ip("10.1.0.1"),
    preferredSource: HELD.address,
    mtu: undefined,
  },
};
const NOT_PERMITTED: Refusal = {
  code: "not-permitted",
  field: "table",
  errno: "",
  kernelText: "",
  text: "the helper does not permit it",
};
const PUT_ADDRESS: Operation = {
  kind: "put-address",
  link: makeUplink(1).link,
  address: { ...HELD, link: makeUplink(1).link },
};

/** What is told of the two operations that are due, once the address and the route went at `ms`. */
function repaired(ms: number, how: { readonly isOurs?: true; readonly requester?: number }) {
  const repairs = new Repairs();
  const at = ms as Instant;
  const { isOurs, requester } = how;
  const by = requester === undefined ? {} : { requester };
  repairs.observe({ kind: "address-removed", address: HELD }, at);
  if (isOurs === undefined) repairs.observe({ kind: "disturbed", key: KEY, ...by }, at);
  repairs.observe({ kind: "disturbed", key: operationKey(PUT_ROUTE), ...by }, at);
  const now = repairs.due([PUT_ADDRESS, PUT_ROUTE], at);
  const later = repairs.due([PUT_ADDRESS, PUT_ROUTE], (ms + 250) as Instant);
  return [now.due.length, later.repairs.map(({ operation }) => operation.kind)];
}

describe("an address that goes, and its route with it", () => {
  test("because its lifetime is over, is nobody's doing, and may come back at once", () => {
    assert.deepEqual(repaired(10_000, {}), [2, []]);
  });

  test("because the kernel counts in seconds, is nobody's doing a moment before either", () => {
    assert.deepEqual(repaired(9_001, {}), [2, []]);
  });

  test("because we delete it, is nobody's doing, and may come back at once", () => {
    assert.deepEqual(repaired(5_000, { isOurs: true }), [2, []]);
  });

  test("in the middle of its lifetime, is another program's doing", () => {
    assert.deepEqual(repaired(5_000, {}), [0, ["put-address"]], "the kernel took the route along");
  });

  test("at its end, but because a program asked for it, is that program's doing", () => {
    assert.deepEqual(repaired(10_000, { requester: 612 }), [0, ["put-address", "put-route"]]);
  });
});

test("a route that goes long after its address came back is another program's doing", () => {
  const repairs = new Repairs();
  repairs.observe({ kind: "address-removed", address: HELD }, 10_000 as Instant);
  repairs.observe({ kind: "disturbed", key: operationKey(PUT_ROUTE) }, 11_000 as Instant);
  assert.deepEqual(repairs.due([PUT_ROUTE], 11_000 as Instant).due, []);
  assert.equal(repairs.due([PUT_ROUTE], 11_250 as Instant).repairs.length, 1);
});

test("an address that goes excuses nobody of the routes that prefer another one", () => {
  const repairs = new Repairs();
  repairs.observe(
    { kind: "address-removed", address: { ...HELD, address: ip("10.1.0.9") } },
    10_000 as Instant,
  );
  repairs.observe({ kind: "disturbed", key: operationKey(PUT_ROUTE) }, 10_000 as Instant);
  assert.deepEqual(repairs.due([PUT_ROUTE], 10_000 as Instant).due, []);
});

describe("routes that the kernel flushes because their link was set down, and up again at once", () => {
  const stolen = { kind: "disturbed", key: operationKey(PUT_ROUTE) } as const;
  const down = { kind: "link-changed", before: LINK, link: { ...LINK, adminUp: false } } as const;
  const after = (...changes: readonly ModelChange[]) => {
    const repairs = new Repairs();
    for (const change of changes) repairs.observe(change, 10_000 as Instant);
    const { due, repairs: told } = repairs.due([PUT_ROUTE], 10_000 as Instant);
    return [due.length, told.length];
  };

  test("come back at once, and no other program is accused", () => {
    assert.deepEqual(after(down, stolen), [1, 0]);
  });

  test("though another address of the link went as well", () => {
    const other = { ...HELD, address: ip("10.1.0.9") };
    assert.deepEqual(after(down, { kind: "address-removed", address: other }, stolen), [1, 0]);
  });

  test("are another program's doing all the same when that program asked for it", () => {
    assert.deepEqual(after(down, { ...stolen, requester: 612 }), [0, 0]);
  });

  test("are not excused by lost carrier, which takes no routes", () => {
    const link = { ...LINK, carrier: false };
    assert.deepEqual(after({ kind: "link-changed", before: LINK, link }, stolen), [0, 0]);
  });
});

describe("a refusal is told", () => {
  const at = 1_000 as Instant;
  const refusal = NOT_PERMITTED;

  test("once, however often its link changes and the object is wanted again", () => {
    const repairs = new Repairs();
    assert.equal(repairs.refuse(PUT_ROUTE, refusal, at), true);
    repairs.observe({ kind: "link-changed", before: LINK, link: { ...LINK, mtu: 1400 } }, at);
    assert.equal(repairs.faultOf(LINK.ifindex), undefined, "it is tried again at once");
    assert.equal(repairs.refuse(PUT_ROUTE, refusal, at), false);
    repairs.due([], at);
    assert.equal(repairs.refuse(PUT_ROUTE, refusal, at), false);
  });

  test("again when it is another one, was cured meanwhile, or circumstances changed", () => {
    const repairs = new Repairs();
    repairs.refuse(PUT_ROUTE, refusal, at);
    assert.equal(repairs.refuse(PUT_ROUTE, { ...refusal, text: "no memory" }, at), true);
    repairs.succeed(PUT_ROUTE);
    assert.equal(repairs.refuse(PUT_ROUTE, refusal, at), true);
    repairs.retryAll(at);
    assert.equal(repairs.refuse(PUT_ROUTE, refusal, at), true);
  });
});

test("a route is not taken away that has yet to be put, as when metrics are exchanged", () => {
  const repairs = new Repairs();
  const { link, route } = PUT_ROUTE;
  const away: Operation = { kind: "delete-route", link, type: "unicast", route };
  repairs.observe({ kind: "disturbed", key: KEY }, 10_000 as Instant);
  assert.deepEqual(repairs.due([PUT_ADDRESS, PUT_ROUTE, away], 10_000 as Instant).due, []);
  assert.deepEqual(repairs.due([PUT_ADDRESS, PUT_ROUTE, away], 10_250 as Instant).due, [
    PUT_ADDRESS,
    PUT_ROUTE,
    away,
  ]);
});

test("an uplink is blocked by what could not be put, not by what could not be removed", () => {
  const repairs = new Repairs();
  const refusal = NOT_PERMITTED;
  const { link, route } = PUT_ROUTE;
  const surplus: Operation = { kind: "delete-route", link, type: "unicast", route };
  repairs.refuse(surplus, refusal, 1_000 as Instant);
  assert.equal(repairs.blockOf(LINK.ifindex), undefined);
  assert.equal(repairs.faultOf(LINK.ifindex)?.operation, surplus);
  repairs.refuse(PUT_ADDRESS, refusal, 1_000 as Instant);
  assert.equal(repairs.blockOf(LINK.ifindex)?.operation, PUT_ADDRESS);
});

test("what goes because it is not wanted any more undoes nothing, whoever changed it before", () => {
  const repairs = new Repairs();
  const { link, route } = PUT_ROUTE;
  const surplus: Operation = { kind: "delete-route", link, type: "unicast", route };
  repairs.observe({ kind: "disturbed", key: operationKey(surplus) }, 10_000 as Instant);
  assert.deepEqual(repairs.due([surplus], 10_250 as Instant), { due: [surplus], repairs: [] });
});
