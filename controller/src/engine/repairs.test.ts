import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Instant, PrefixLength } from "@mnm/proto/net";
import {
  addressKey,
  type KernelAddress,
  type Operation,
  operationKey,
} from "../reconcile/index.js";
import { ip, makeLink, makeUplink, prefix } from "../testing/make.js";
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
const PUT_ROUTE: Operation = {
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
    assert.deepEqual(repaired(5_000, {}), [0, ["put-address", "put-route"]]);
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

test("a foreign address that goes excuses nobody", () => {
  const repairs = new Repairs();
  repairs.observe(
    { kind: "address-removed", address: { ...HELD, protocol: 0 } },
    10_000 as Instant,
  );
  repairs.observe({ kind: "disturbed", key: operationKey(PUT_ROUTE) }, 10_000 as Instant);
  assert.deepEqual(repairs.due([PUT_ROUTE], 10_000 as Instant).due, []);
});
