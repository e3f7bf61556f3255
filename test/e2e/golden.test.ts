import assert from "node:assert/strict";
import { test } from "node:test";
import { kernelText } from "./kernel-text.js";
import { Scenario } from "./scenario.js";

test("two uplinks: rules, routes and addresses are exactly as designed", async () => {
  await using scenario = await Scenario.start({ uplinks: 2 });
  assert.deepEqual(await kernelText(scenario.lab.host), {
    rules: [
      "0: from all lookup local",
      "9000: from all oif wan0 lookup 7701 proto 77",
      "9000: from all oif wan1 lookup 7702 proto 77",
      "9500: from all lookup main suppress_prefixlength 0 proto 77",
      "10000: from 10.0.0.100 lookup 7701 proto 77",
      "10000: from 10.1.0.100 lookup 7702 proto 77",
      "10500: from 10.0.0.100 unreachable proto 77",
      "10500: from 10.1.0.100 unreachable proto 77",
      "21000: from all to 10.0.0.0/24 lookup 7701 proto 77",
      "21001: from all to 10.1.0.0/24 lookup 7702 proto 77",
      "32766: from all lookup main",
      "32767: from all lookup default",
    ],
    routes: [
      "10.0.0.0/24 dev wan0 table 7701 proto 77 scope link src 10.0.0.100",
      "10.1.0.0/24 dev wan1 table 7702 proto 77 scope link src 10.1.0.100",
      "default via 10.0.0.1 dev wan0 proto 77 src 10.0.0.100 metric 1000",
      "default via 10.0.0.1 dev wan0 table 7701 proto 77 src 10.0.0.100",
      "default via 10.1.0.1 dev wan1 proto 77 src 10.1.0.100 metric 1001",
      "default via 10.1.0.1 dev wan1 table 7702 proto 77 src 10.1.0.100",
    ],
    addresses: [
      "wan0 inet 10.0.0.100/24 brd 10.0.0.255 scope global dynamic noprefixroute wan0 valid_lft N preferred_lft N",
      "wan1 inet 10.1.0.100/24 brd 10.1.0.255 scope global dynamic noprefixroute wan1 valid_lft N preferred_lft N",
    ],
  });

  // An address of another program, as a control.
  await scenario.lab.host.ip("addr", "add", "198.51.100.9/32", "dev", "wan0");
  const script = new URL("address-protocols.js", import.meta.url).pathname;
  const { stdout } = await scenario.lab.host.exec(process.execPath, script);
  const protocols = stdout
    .trim()
    .split("\n")
    .filter((line) => !line.startsWith("127."));
  assert.deepEqual(protocols.toSorted(), ["10.0.0.100 77", "10.1.0.100 77", "198.51.100.9 0"]);
});
