import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { linkNameFromKernel, type MacAddress, parseMac } from "@mnm/proto/net";
import { entryFor, parseConfig } from "./index.js";

const CONFIG = parseConfig(
  `links:
  "*": {}
  "w*": {}
  "w*n0": {}
  "wwan?": {}
  wwan0: {}
  port: { match: { path: usb-0:1.3 } }
  slot: { match: { path: "0000:00:1f.6" } }
  card: { match: { mac: 02:00:00:00:00:01 } }
`,
  "mnm.yaml",
);

function mac(text: string): MacAddress {
  const parsed = parseMac(text);
  assert.ok(parsed.ok);
  return parsed.value;
}

function labelFor(link: {
  readonly name: string;
  readonly parentDevice?: string;
  readonly permanentMac?: string;
  readonly mac?: string;
}): string | undefined {
  assert.ok(CONFIG.ok);
  return entryFor(CONFIG.value, {
    name: linkNameFromKernel(link.name),
    parentDevice: link.parentDevice,
    permanentMac: link.permanentMac === undefined ? undefined : mac(link.permanentMac),
    mac: link.mac === undefined ? undefined : mac(link.mac),
  })?.label;
}

describe("entryFor", () => {
  const rows = [
    { name: "a name beats every pattern", link: { name: "wwan0" }, want: "wwan0" },
    {
      name: "a name beats a path",
      link: { name: "wwan0", parentDevice: "1-1.3:1.0" },
      want: "wwan0",
    },
    {
      name: "a path beats a pattern",
      link: { name: "wwan1", parentDevice: "1-1.3:1.0" },
      want: "port",
    },
    {
      name: "the bus does not matter to usb-0",
      link: { name: "a", parentDevice: "4-1.3:1.4" },
      want: "port",
    },
    { name: "the port does", link: { name: "a", parentDevice: "1-1.31:1.0" }, want: "*" },
    {
      name: "a port behind it is another",
      link: { name: "a", parentDevice: "1-1.3.1:1.0" },
      want: "*",
    },
    {
      name: "another path is compared as it is",
      link: { name: "a", parentDevice: "0000:00:1f.6" },
      want: "slot",
    },
    {
      name: "the permanent MAC counts",
      link: { name: "a", permanentMac: "02:00:00:00:00:01", mac: "02:00:00:00:00:02" },
      want: "card",
    },
    {
      name: "a MAC that was only set does not",
      link: { name: "a", permanentMac: "02:00:00:00:00:02", mac: "02:00:00:00:00:01" },
      want: "*",
    },
    {
      name: "where there is no permanent MAC the present one counts",
      link: { name: "a", mac: "02:00:00:00:00:01" },
      want: "card",
    },
    { name: "the pattern with more literals wins", link: { name: "wwan1" }, want: "wwan?" },
    { name: "a star in the middle", link: { name: "wlan0" }, want: "w*n0" },
    { name: "? is exactly one character", link: { name: "wwan10" }, want: "w*" },
    { name: "a star takes as much as it has to", link: { name: "wn0n0" }, want: "w*n0" },
    { name: "a star alone takes all", link: { name: "eth0" }, want: "*" },
  ] as const;
  for (const { name, link, want } of rows) {
    test(name, () => assert.equal(labelFor(link), want));
  }

  test("no entry is no entry", () => {
    const config = parseConfig("links: { eth0: {} }", "f");
    assert.ok(config.ok);
    const link = { parentDevice: undefined, permanentMac: undefined, mac: undefined };
    assert.equal(entryFor(config.value, { ...link, name: linkNameFromKernel("eth1") }), undefined);
  });
});
