import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { LinkName, MacAddress, PrefixLength } from "@mnm/proto/net";
import type { Link } from "../link/index.js";
import { ip, makeLink } from "../testing/make.js";
import { type KernelAddress, KernelModel, type ModelChange } from "./index.js";

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
