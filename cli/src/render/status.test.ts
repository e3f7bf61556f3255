import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LinkKind, LinkState, type Status } from "@mnm/proto/network-manager";
import { FAULT, LINK, STATUS } from "../testing/fake-controller.js";
import { formatPage } from "./page.js";
import { statusPage } from "./status.js";

const MINUTE_MS = 60_000n;
const HOUR_MS = 60n * MINUTE_MS;

const LEASE = {
  address: "",
  server: "",
  gateways: [],
  dnsServers: [],
  domain: "",
  leaseSec: 0,
  mtu: 0,
  routes: [],
  ntpServers: [],
  searchDomains: [],
  hostName: "",
  captivePortal: "",
};

function addressed(address: string, ours = true) {
  return [{ address, ours, validSec: 3600 }];
}

const HOST: Status = {
  ...STATUS,
  defaultLink: "eth0",
  links: [
    {
      ...LINK,
      name: "eth0",
      state: LinkState.USABLE,
      isDefault: true,
      metric: 10,
      table: 7701,
      addresses: addressed("192.168.1.10/24"),
      gateway: "192.168.1.1",
      lease: { ...LEASE, expiresInSec: 11 * 3600 },
      sinceMs: 72n * HOUR_MS,
    },
    {
      ...LINK,
      name: "wlan0",
      kind: LinkKind.WLAN,
      state: LinkState.USABLE,
      metric: 20,
      table: 7702,
      addresses: addressed("10.20.0.7/22"),
      gateway: "10.20.0.1",
      lease: { ...LEASE, expiresInSec: 41 * 60 },
      sinceMs: 12n * MINUTE_MS,
    },
    {
      ...LINK,
      name: "wwan1",
      kind: LinkKind.WWAN,
      state: LinkState.HOLDING,
      metric: 7001,
      table: 7704,
      addresses: [...addressed("100.71.4.9/32"), ...addressed("192.0.2.9/24", false)],
      gateway: "100.64.0.1",
      lease: LEASE,
      sinceMs: 1500n,
    },
    {
      ...LINK,
      name: "docker0",
      kind: LinkKind.BRIDGE,
      addresses: addressed("172.17.0.1/16", false),
    },
    { ...LINK, name: "eth9", state: LinkState.NO_CARRIER, metric: 1000, table: 7705 },
  ],
  warnings: [
    {
      link: "wwan1",
      text: "shares address 100.71.4.9 with wwan0; only sockets bound to the device use it",
    },
  ],
};

function shown(status: Status, useColor = false): string {
  return formatPage(statusPage(status), useColor);
}

function firstLine(status: Status): string {
  return shown(status).split("\n")[0]?.replace(/ {2,}/g, "  ") ?? "";
}

describe("statusPage", () => {
  test("is the table of the manual", () => {
    assert.equal(
      shown(HOST),
      `default: eth0   2 uplinks, 1 warning                             mnm 0.3.0, up 3 d, helper ok
   LINK     KIND    STATE       METRIC  TABLE  ADDRESS           GATEWAY      LEASE    SINCE
*  eth0     wired   usable          10   7701  192.168.1.10/24   192.168.1.1  11 h     3 d
   wlan0    wlan    usable          20   7702  10.20.0.7/22      10.20.0.1    41 min   12 min
   wwan1    wwan    holding       7001   7704  100.71.4.9/32 +1  100.64.0.1   forever  1 s
   docker0  bridge  ignored          -      -  -                 -            -        -
   eth9     wired   no carrier    1000   7705  -                 -            -        0 s
! wwan1: shares address 100.71.4.9 with wwan0; only sockets bound to the device use it
`,
    );
  });

  const summaries: readonly {
    readonly name: string;
    readonly status: Status;
    readonly want: string;
  }[] = [
    {
      name: "nothing at all",
      status: { ...STATUS, settled: false },
      want: "default: none  no uplink, still starting  mnm 0.3.0, up 3 d, helper ok",
    },
    {
      name: "no helper",
      status: {
        ...STATUS,
        helper: { state: 2, text: "not reachable since 3 s", version: "", capabilities: [] },
      },
      want: "default: none  no uplink, 1 warning  mnm 0.3.0, up 3 d, helper unreachable",
    },
    {
      name: "one uplink",
      status: { ...HOST, links: HOST.links.slice(0, 1), warnings: [] },
      want: "default: eth0  1 uplink  mnm 0.3.0, up 3 d, helper ok",
    },
  ];
  for (const { name, status, want } of summaries) {
    test(`sums up ${name}`, () => assert.equal(firstLine(status), want));
  }

  test("tells faults, each once; a refused configuration as the controller does", () => {
    const status: Status = {
      ...STATUS,
      config: {
        file: "/etc/mnm/mnm.yaml",
        stale: true,
        problems: [
          { file: "/etc/mnm/mnm.yaml", line: 3, column: 9, value: "x", text: "x is wrong" },
        ],
      },
      links: [
        {
          ...LINK,
          state: LinkState.FAULTY,
          fault: { ...FAULT, text: "No route", errno: "EINVAL", kernelText: "Nexthop is bad" },
        },
      ],
      helper: { state: 2, text: "not reachable", version: "", capabilities: [] },
      warnings: [
        { link: "", text: "helper: not reachable" },
        { link: "", text: "the configuration file has 1 problem (mnmctl check FILE shows it)" },
      ],
    };
    const warnings = shown(status)
      .split("\n")
      .filter((line) => line.startsWith("!"));
    assert.deepEqual(warnings, [
      "! helper: not reachable",
      "! the configuration file has 1 problem (mnmctl check FILE shows it)",
      "! eth0: No route (EINVAL: Nexthop is bad)",
    ]);
  });

  test("what a terminal would obey is shown, not done", () => {
    const name = "\x1b[2Jeth0\u202e";
    const text = "\n! all is well\x07";
    const page = shown(
      { ...STATUS, links: [{ ...LINK, name }], warnings: [{ link: "", text }] },
      true,
    );
    assert.match(page, /\\x1b\[2Jeth0\\u\{202e\}/);
    assert.match(page, /\\x0a! all is well\\x07/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
    assert.doesNotMatch(page.replace(/\x1b\[\d+m/g, ""), /[\x00-\x09\x0b-\x1f]/);
  });

  test("colour changes no column", () => {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colour is made of them
    const bare = shown(HOST, true).replace(/\x1b\[\d+m/g, "");
    assert.equal(bare.replace(/ +$/gm, ""), shown(HOST));
    assert.ok(shown(HOST, true).includes("\x1b[32musable\x1b[0m"));
  });
});
