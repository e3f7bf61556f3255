import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { LinkName, MacAddress, PrefixLength } from "@mnm/proto/net";
import { type Link, linkRefOf } from "../link/index.js";
import { ip, makeLink, prefix } from "../testing/make.js";
import {
  type KernelAddress,
  KernelModel,
  type KernelNotification,
  type KernelRoute,
  type KernelSnapshot,
  type ModelChange,
  type Operation,
} from "./index.js";

const name = "eth7" as LinkName;
const mac = "02:00:00:00:07:07" as MacAddress;
const permanentMac = "02:00:00:00:07:08" as MacAddress;

function describeChange(change: ModelChange): string {
  if (!("link" in change)) return change.kind;
  return `${change.kind} ${change.link.name}`;
}

/** What the model says of a link whose end was not heard of, when it hears of the next. */
function changesTo(link: Link): readonly string[] {
  const model = new KernelModel();
  const before = makeLink(1);
  model.apply({ kind: "link", link: before });
  const address: KernelAddress = {
    ifindex: before.ifindex,
    address: ip("192.0.2.2"),
    length: 24 as PrefixLength,
    peer: undefined,
    broadcast: undefined,
    protocol: 77,
    noprefixroute: true,
    scope: 0,
    expiry: undefined,
  };
  model.apply({ kind: "address", address });
  return model.apply({ kind: "link", link }).map(describeChange);
}

describe("an ifindex that another link has by now, though nobody said that the one before went", () => {
  const another = ["address-removed", "link-removed wan1", "link-added eth7"];
  const same = ["address-removed", "link-removed wan1", "link-added wan1"];
  const cases = [
    { name: "a rename is none", link: makeLink(1, { name }), want: ["link-changed eth7"] },
    { name: "nor is another MAC", link: makeLink(1, { mac }), want: ["link-changed wan1"] },
    { name: "both at once", link: makeLink(1, { name, mac }), want: another },
    { name: "another bus", link: makeLink(1, { name, parentDevice: "1-1.3:1.0" }), want: another },
    { name: "another kind", link: makeLink(1, { infoKind: "bridge" }), want: same },
    { name: "another permanent MAC", link: makeLink(1, { permanentMac }), want: same },
  ];
  for (const { name: title, link, want } of cases) {
    test(title, () => assert.deepEqual(changesTo(link), want));
  }
});

const LINK = makeLink(1);
const ADDRESS: KernelAddress = {
  ifindex: LINK.ifindex,
  address: ip("10.1.0.2"),
  length: 24 as PrefixLength,
  peer: undefined,
  broadcast: undefined,
  protocol: 77,
  noprefixroute: true,
  scope: 0,
  expiry: undefined,
};
const ROUTE: KernelRoute = {
  table: 7701,
  type: "unicast",
  destination: prefix("0.0.0.0/0"),
  metric: 0,
  tos: 0,
  scope: 0,
  protocol: 77,
  ifindex: LINK.ifindex,
  gateway: ip("10.1.0.1"),
  preferredSource: ADDRESS.address,
  mtu: undefined,
  onlink: false,
};
const HELD: KernelSnapshot = {
  links: [LINK],
  addresses: [ADDRESS],
  routes: [ROUTE],
  rules: [],
  rpFilterAll: 0,
};

function heldModel(): KernelModel {
  const model = new KernelModel();
  model.replace(HELD);
  return model;
}

describe("routes that the kernel may have taken away without a word are read again", () => {
  const down = { ...LINK, adminUp: false };
  const cases: readonly (readonly [name: string, what: KernelNotification, want: boolean])[] = [
    ["after an address went", { kind: "address-gone", address: ADDRESS }, true],
    ["after a link was set down", { kind: "link", link: down }, true],
    ["after a link went", { kind: "link-gone", ifindex: LINK.ifindex }, true],
    ["not after carrier went", { kind: "link", link: { ...LINK, carrier: false } }, false],
  ];
  for (const [name, notification, want] of cases) {
    test(name, () => {
      const model = heldModel();
      model.apply(notification);
      // Whatever comes after it: a link that bounces is up again in the same batch.
      model.apply({ kind: "link", link: LINK });
      assert.equal(model.routesAreStale, want);
    });
  }
});

describe("an operation of ours is not taken for another program's", () => {
  const operation: Operation = {
    kind: "delete-route",
    link: linkRefOf(LINK),
    type: "unicast",
    route: ROUTE,
  };
  const gone: KernelNotification = { kind: "route-gone", route: ROUTE };
  const disturbed = (changes: readonly ModelChange[]) =>
    changes.filter(({ kind }) => kind === "disturbed").length;

  test("when everything is read just before the kernel performs it", () => {
    const model = heldModel();
    model.expect([operation]);
    model.replace(HELD);
    assert.equal(disturbed(model.apply(gone)), 0);
  });

  test("when everything is read just after the kernel performed it", () => {
    const model = heldModel();
    model.expect([operation]);
    assert.equal(disturbed(model.replace({ ...HELD, routes: [] })), 0);
    assert.equal(disturbed(model.apply(gone)), 0);
  });

  test("when the routes are read just after the kernel performed it", () => {
    const model = heldModel();
    model.expect([operation]);
    assert.equal(disturbed(model.replaceRoutes([])), 0);
  });

  test("but what goes without one is", () => {
    assert.equal(disturbed(heldModel().replace({ ...HELD, routes: [] })), 1);
    assert.equal(disturbed(heldModel().apply(gone)), 1);
  });
});
