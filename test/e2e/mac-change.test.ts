// The MAC of a link changes while it has a lease, and the server has no second address to give.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EventKind } from "@mnm/proto/network-manager";
import { uplinkNumbers } from "../lab/addressing.js";
import { Scenario } from "./scenario.js";

test("a link whose MAC changes gets its lease anew, from a server that has one address", async () => {
  const { gateway, address } = uplinkNumbers(0, "distinct");
  await using scenario = await Scenario.start({
    uplinks: 1,
    dhcp: "none",
    async prepare({ isps: [isp] }) {
      const server = isp?.namespace.start("dnsmasq", [
        ...["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--pid-file=", "--port=0"],
        ...["--interface=lan", `--dhcp-range=${address},${address},255.255.255.0,3600`],
        ...[`--dhcp-option=option:router,${gateway}`, "--dhcp-authoritative", "--no-ping"],
        ...["--leasefile-ro", "--log-dhcp"],
      ]);
      await server?.waitForLog(/DHCP, IP range/);
    },
  });
  const { lab, log } = scenario;
  const told = log.events.length;
  await lab.host.ip("link", "set", "wan0", "address", "02:00:00:12:34:56");
  const lost = await log.event(EventKind.LEASE_EXPIRED, "wan0", told);
  assert.match(lost.text, /MAC \S+ became 02:00:00:12:34:56/);
  const bound = await log.event(EventKind.LEASE_BOUND, "wan0", told);
  assert.match(bound.after, new RegExp(`^${address.replaceAll(".", "\\.")}/`));
  await scenario.usable(1);
  assert.equal(await lab.whoami({ device: "wan0" }), 0);
});
