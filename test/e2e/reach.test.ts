import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { LabMode } from "../lab/index.js";
import { Scenario } from "./scenario.js";

const UPLINKS = 8;
const ALL = Array.from({ length: UPLINKS }, (_, index) => index);

/** The address that each uplink has, by what the controller says. */
async function addresses(scenario: Scenario): Promise<readonly string[]> {
  const { links } = await scenario.status();
  return ALL.map((index) => {
    const link = links.find(({ name }) => name === scenario.lab.linkName(index));
    return link?.addresses[0]?.address.split("/")[0] ?? "";
  });
}

for (const mode of ["distinct", "overlap"] satisfies LabMode[]) {
  describe(`${UPLINKS} uplinks, ${mode} subnets, from a cold start`, () => {
    let scenario: Scenario;
    before(async () => {
      scenario = await Scenario.start({ uplinks: UPLINKS, mode });
    });
    after(() => scenario[Symbol.asyncDispose]());

    test("a socket bound to an address leaves by the ISP that gave it", async () => {
      const seen = [];
      for (const address of await addresses(scenario)) {
        seen.push(await scenario.lab.whoami({ address }));
      }
      assert.deepEqual(seen, ALL);
    });

    test("a socket bound to a device leaves by that device's ISP", async () => {
      const seen = [];
      for (const index of ALL) {
        seen.push(await scenario.lab.whoami({ device: scenario.lab.linkName(index) }));
      }
      assert.deepEqual(seen, ALL);
    });

    test("unbound traffic leaves by the lowest metric", async () => {
      const { defaultLink } = await scenario.status();
      assert.equal(scenario.lab.linkName(Number(await scenario.lab.whoami())), defaultLink);
    });

    test("a container stays reachable from every uplink address, and reaches out", async () => {
      const container = await scenario.lab.addContainerBridge();
      for (const address of await addresses(scenario)) {
        const ping = await container.exec("ping", "-n", "-c1", "-W2", address);
        assert.equal(ping.code, 0, `from the container to ${address}: ${ping.stdout}`);
        const back = await scenario.lab.host.exec(
          "ping",
          "-n",
          "-c1",
          "-W2",
          "-I",
          address,
          "172.17.0.2",
        );
        assert.equal(back.code, 0, `from ${address} to the container: ${back.stdout}`);
      }
      const out = await container.exec("ping", "-n", "-c1", "-W2", "203.0.113.1");
      assert.equal(out.code, 0, out.stdout);
    });
  });
}

describe(`${UPLINKS} uplinks that all got the same address`, () => {
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({ uplinks: UPLINKS, mode: "same" });
  });
  after(() => scenario[Symbol.asyncDispose]());

  test("a socket bound to a device leaves by that device's ISP", async () => {
    const seen = [];
    for (const index of ALL) {
      seen.push(await scenario.lab.whoami({ device: scenario.lab.linkName(index) }));
    }
    assert.deepEqual(seen, ALL);
  });

  test("status says who shares an address with whom", async () => {
    const { links, warnings } = await scenario.status();
    const owner = links.find(
      ({ sharesAddressWith, table }) => table > 0 && sharesAddressWith === "",
    );
    const sharers = links.filter(({ sharesAddressWith }) => sharesAddressWith === owner?.name);
    assert.equal(sharers.length, UPLINKS - 1);
    assert.equal(
      warnings.filter(({ text }) => text.includes("shares address")).length,
      UPLINKS - 1,
    );
  });
});
