/** Lessons of other programs' vulnerabilities on the running programs; docs/cve-lessons.md names them. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { EventKind, type NetworkManagerClient } from "@mnm/proto/network-manager";
import { uplinkNumbers } from "../lab/addressing.js";
import { until } from "../lab/index.js";
import { costOf } from "./process-cost.js";
import { clientOf, Scenario } from "./scenario.js";

/** CVE-2024-3661: what the server says leads everywhere, and is more specific than any default. */
const CAPTURING = ["0.0.0.0/1", "128.0.0.0/1", "0.0.0.0/0", "203.0.113.1/32"];

const FAR = ["203.0.113.1", "8.8.8.8", "192.168.200.7"];

describe("TunnelVision: a server whose routes lead everywhere", () => {
  const { gateway, net, mac, address } = uplinkNumbers(0, "distinct");
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({
      uplinks: 1,
      dhcp: "none",
      async prepare({ host, isps: [isp] }) {
        // A VPN: a link that leads elsewhere, and that MNM does not manage.
        await host.ipBatch([
          "link add vpn0 type veth peer name vpn1",
          "addr add 10.8.0.2/24 dev vpn0",
          "link set vpn1 up",
          "link set vpn0 up",
        ]);
        const routes = CAPTURING.map((prefix) => `${prefix},${gateway}`).join(",");
        const server = isp?.namespace.start("dnsmasq", [
          ...["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--pid-file=", "--port=0"],
          ...["--interface=lan", `--dhcp-range=${net}.0,static,255.255.255.0,3600`],
          ...[`--dhcp-host=${mac},${address}`, `--dhcp-option=option:router,${gateway}`],
          ...[`--dhcp-option=121,${routes}`, "--dhcp-authoritative", "--no-ping", "--log-dhcp"],
          "--leasefile-ro",
        ]);
        await server?.waitForLog(/DHCP, static leases only/);
      },
    });
  });
  after(() => scenario?.[Symbol.asyncDispose]());

  const ip = (...args: readonly string[]) => scenario.lab.host.ip(...args);
  const linkTo = async (destination: string, ...how: readonly string[]) =>
    / dev (\S+)/.exec(await ip("route", "get", destination, ...how))?.[1];

  test("its routes are in the uplink's own table, and main has only the default of ours", async () => {
    const { table } = await scenario.link("wan0");
    const own = await ip("route", "show", "table", `${table}`);
    for (const prefix of ["0.0.0.0/1", "128.0.0.0/1", "203.0.113.1"]) {
      assert.match(own, new RegExp(`^${prefix.replaceAll(".", "\\.")} via`, "m"));
    }
    const main = await ip("route", "show", "table", "main", "proto", "77");
    assert.match(main, /^default /);
    assert.equal(main.trim().split("\n").length, 1, main);
  });

  const renewals = () =>
    scenario.log.events.filter(({ kind }) => kind === EventKind.LEASE_RENEWED).length;

  const vpns = [
    {
      name: "a default of a lower metric",
      setUp: ["route add default via 10.8.0.1 dev vpn0 metric 1"],
    },
    {
      name: "two halves of the world in main, as OpenVPN has them",
      setUp: [
        "route add 0.0.0.0/1 via 10.8.0.1 dev vpn0",
        "route add 128.0.0.0/1 via 10.8.0.1 dev vpn0",
      ],
    },
    {
      name: "a table of its own with rules by mark, as wg-quick has them",
      setUp: [
        "route add default dev vpn0 table 51820",
        "rule add not fwmark 51820 table 51820 pref 32765",
        "rule add table main suppress_prefixlength 0 pref 32764",
      ],
    },
  ];
  for (const { name, setUp } of vpns) {
    test(`a VPN keeps what is not bound to the uplink: ${name}`, async () => {
      for (const far of FAR) assert.equal(await linkTo(far), "wan0", "as long as there is no VPN");
      await scenario.lab.host.ipBatch(setUp);
      try {
        for (const far of FAR) {
          assert.equal(await linkTo(far), "vpn0", far);
          // Who chooses the uplink gets it, and the server's routes with it.
          assert.equal(await linkTo(far, "oif", "wan0"), "wan0", far);
        }
        const before = renewals();
        assert.equal((await scenario.lab.mnmctl("renew", "wan0")).code, 0);
        await scenario.log.until("the renewal", () => renewals() > before);
        for (const far of FAR) assert.equal(await linkTo(far), "vpn0", `${far} after a renewal`);
      } finally {
        const undo = setUp.toReversed().map((command) => command.replace(" add ", " del "));
        await scenario.lab.host.ipBatch(undo);
      }
    });
  }
});

/** Names that every JavaScript object has something by. */
const OBJECT_WORDS = ["__proto__", "constructor", "toString"];

const CONFIG = `links: { ${OBJECT_WORDS.map((word) => `${word}: {}`).join(", ")} }\n`;

describe("links by the names of what JavaScript's objects have", () => {
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({
      uplinks: OBJECT_WORDS.length,
      linksUp: false,
      controller: {
        config: `links: { ${OBJECT_WORDS.map((word) => `${word}: {}`).join(", ")} }\n`,
      },
      async prepare({ host }) {
        for (const [index, word] of OBJECT_WORDS.entries()) {
          await host.ipBatch([`link set wan${index} name ${word}`, `link set ${word} up`]);
        }
      },
    });
  });
  after(() => scenario?.[Symbol.asyncDispose]());

  test("they are links like any other, in JSON too", async () => {
    const { stdout } = await scenario.lab.mnmctl("status", "--json");
    const { links }: { links: readonly { name: string; state: string }[] } = JSON.parse(stdout);
    const usable = links.filter(({ state }) => state === "usable").map(({ name }) => name);
    assert.deepEqual(usable.toSorted(), OBJECT_WORDS.toSorted());
  });

  test("their metrics are set, persisted, and there after a restart with what they had", async () => {
    const { lab } = scenario;
    for (const [index, word] of OBJECT_WORDS.entries()) {
      const { code, stderr } = await lab.mnmctl("set-metric", word, `${50 + index}`, "--persist");
      assert.equal(code, 0, stderr);
    }
    const tables = async () =>
      (await scenario.status()).links.map(({ name, table, metric }) => [name, table, metric]);
    const before = (await tables()).toSorted();
    await scenario.controller.stop();
    scenario.controller = await lab.startController({ config: CONFIG });
    await scenario.resubscribe();
    await scenario.usable(OBJECT_WORDS.length);
    assert.deepEqual((await tables()).toSorted(), before);
    for (const word of OBJECT_WORDS) {
      assert.match((await lab.mnmctl("link", word)).stdout, new RegExp(word));
    }
  });
});

const MB = 1_000_000;
/** CompressionAlgorithms of grpc-js. */
const GZIP = 2;

describe("one uplink", () => {
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({ uplinks: 1 });
  });
  after(() => scenario?.[Symbol.asyncDispose]());

  test("after a NAK there is another lease within five seconds", async (context) => {
    const { lab, log } = scenario;
    const address = await lab.moveAddress(0);
    const seen = log.events.length;
    const startedAt = performance.now();
    assert.equal((await lab.mnmctl("renew", "wan0")).code, 0);
    const hasHeard = (kind: EventKind) =>
      log.events.slice(seen).some((event) => event.kind === kind);
    await log.until("the refusal", () => hasHeard(EventKind.LEASE_REFUSED));
    await log.until("another lease", () => hasHeard(EventKind.LEASE_BOUND));
    const tookMs = performance.now() - startedAt;
    context.diagnostic(`${Math.round(tookMs)} ms`);
    assert.ok(tookMs < 5000, `${tookMs} ms`);
    await until(async () => (await lab.host.ip("addr", "show", "dev", "wan0")).includes(address), {
      timeoutMs: 5000,
      what: `${address} on the link`,
    });
  });

  const oversized = [
    { name: "a message of 5 MB", link: "x".repeat(5 * MB) },
    {
      name: "a message of 5 MB, compressed to 5 KB",
      link: "x".repeat(5 * MB),
      options: { "grpc.default_compression_algorithm": GZIP },
    },
  ];
  for (const { name, link, options } of oversized) {
    test(`${name}, sixty times: refused, without room for it, and nobody is held up`, async (context) => {
      const { controller, lab } = scenario;
      let before = 0;
      for (let turn = 0; turn < 60; turn += 1) {
        // What the allocators keep ready for the next is there by then.
        if (turn === 20) before = costOf(controller).residentKb;
        const client = clientOf(lab, options);
        assert.equal(await codeOf(client, link), status.RESOURCE_EXHAUSTED);
        client.close();
      }
      const grown = costOf(controller).residentKb - before;
      context.diagnostic(`${grown} KB more`);
      assert.ok(grown < 30_000, `${grown} KB`);
      assert.equal((await scenario.status()).links.length, 1);
    });
  }

  test("neither program has a socket that IP reaches: no DNS proxy, no portal, no listener", async () => {
    const { lab, helper, controller } = scenario;
    for (const { pid, name } of [helper, controller]) {
      const families = await familiesOf(lab, pid);
      const allowed = name === "mnm-helper" ? /^(u_\w+|nl|p_\w+)$/ : /^(u_\w+|nl)$/;
      assert.ok(families.length > 1, `${name} has sockets`);
      for (const family of families) assert.match(family, allowed, name);
    }
  });

  test("neither has started another program", async () => {
    for (const { pid } of [scenario.helper, scenario.controller]) {
      const children = readdirSync(`/proc/${pid}/task`).map((task) =>
        readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim(),
      );
      assert.deepEqual(new Set(children), new Set([""]));
    }
  });
});

type Lab = Scenario["lab"];

/** How a call that names this link ends. */
function codeOf(client: NetworkManagerClient, link: string): Promise<number> {
  return new Promise((resolve) => {
    client.getLink({ link }, (error) => resolve(error?.code ?? status.OK));
  });
}

/** What `ss` calls the families of a process' sockets. */
async function familiesOf({ host }: Lab, pid: number): Promise<readonly string[]> {
  const { stdout } = await host.exec("ss", "-H", "-a", "-n", "-p", "-A", "all");
  const lines = stdout.split("\n").filter((line) => line.includes(`pid=${pid},`));
  return lines.map((line) => line.split(/\s+/)[0] ?? "");
}
