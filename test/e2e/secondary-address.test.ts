import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { EventKind } from "@mnm/proto/network-manager";
import { type Lab, type LabOptions, until } from "../lab/index.js";
import type { Program } from "../lab/program.js";
import type { RawAnswer, RawScript } from "../lab/raw-server.js";
import { ours } from "./kernel-text.js";
import { Scenario } from "./scenario.js";

// Of two addresses in one prefix, the kernel calls the later one secondary, and deletes it with the
// first one unless `promote_secondaries` is set. An operator's second address may be either: on wan0
// it is there before ours, on wan1 it comes after.
const OPERATORS = ["10.0.0.200", "10.1.0.200"] as const;
const LINKS = ["wan0", "wan1"] as const;
const VALID_SEC = 5000;
/** What the kernel does by itself; a host without systemd's sysctl.d has it. */
const NOT_PROMOTING = LINKS.map(
  (link) => `echo 0 >/proc/sys/net/ipv4/conf/${link}/promote_secondaries`,
);

const MANAGED = (onStop: string) => `links: { "wan*": {} }\non_stop: ${onStop}\n`;

interface Held {
  readonly local: string;
  readonly secondary: boolean;
  readonly validSec: number;
}

async function addressesOf(lab: Lab, link: string): Promise<readonly Held[]> {
  const text = await lab.host.ip("-j", "-4", "addr", "show", "dev", link);
  const [{ addr_info = [] } = {}] = JSON.parse(text) as {
    addr_info?: { local: string; secondary?: boolean; valid_life_time: number }[];
  }[];
  return addr_info.map(({ local, secondary = false, valid_life_time }) => ({
    local,
    secondary,
    validSec: valid_life_time,
  }));
}

/** Everything that the kernel says of addresses, from now on. */
class AddressWatch {
  readonly #lab: Lab;
  readonly #monitor: Program;

  private constructor(lab: Lab, monitor: Program) {
    this.#lab = lab;
    this.#monitor = monitor;
  }

  static async start(lab: Lab): Promise<AddressWatch> {
    const monitor = lab.host.start("ip-monitor", ["ip", "-4", "-o", "monitor", "address"]);
    const watch = new AddressWatch(lab, monitor);
    await watch.#isUpToDate("198.51.100.1");
    return watch;
  }

  /** Ends the watch, and checks that nobody but the kernel touched what is the operator's. */
  async verify(): Promise<void> {
    await this.#isUpToDate("198.51.100.2");
    await this.#monitor.stop();
    const lines = this.#monitor.log().split("\n");
    const ofOurs = lines.filter((line) => line.includes("noprefixroute"));
    assert.notEqual(ofOurs.length, 0, "the watch saw what was to be seen");
    for (const address of OPERATORS) {
      const seen = lines.filter((line) => line.includes(` ${address}/`));
      assert.deepEqual(
        seen.filter((line) => line.startsWith("Deleted")),
        [],
      );
      // The kernel tells of it again when it promotes it. A refresh would begin the count anew.
      const left = seen.map((line) => Number(/valid_lft (\d+)sec/.exec(line)?.[1]));
      assert.ok(
        left.every((sec, index) => sec <= (left[index - 1] ?? VALID_SEC)),
        seen.join("\n"),
      );
    }
    await assertOperators(this.#lab);
  }

  async #isUpToDate(marker: string): Promise<void> {
    await until(
      async () => {
        await this.#lab.host.ip("addr", "add", `${marker}/32`, "dev", "lo");
        await this.#lab.host.ip("addr", "del", `${marker}/32`, "dev", "lo");
        return this.#monitor.log().includes(`Deleted 1: lo    inet ${marker}/32`);
      },
      { timeoutMs: 10_000, what: "ip monitor" },
    );
  }
}

/** The operator's addresses are there, with no protocol, and their time runs as it did. */
async function assertOperators(lab: Lab): Promise<void> {
  const script = new URL("address-protocols.js", import.meta.url).pathname;
  const { stdout } = await lab.host.exec(process.execPath, script);
  const protocols = stdout.trim().split("\n");
  for (const [index, link] of LINKS.entries()) {
    const held = (await addressesOf(lab, link)).find(({ local }) => local === OPERATORS[index]);
    assert.ok(held !== undefined, `${OPERATORS[index]} is gone`);
    assert.ok(held.validSec > VALID_SEC - 120 && held.validSec <= VALID_SEC);
    assert.ok(protocols.includes(`${OPERATORS[index]} 0`), stdout);
  }
}

async function addOperators(lab: Lab, index: 0 | 1): Promise<void> {
  const lifetime = ["valid_lft", `${VALID_SEC}`, "preferred_lft", "4000"];
  await lab.host.ip("addr", "add", `${OPERATORS[index]}/24`, "dev", LINKS[index], ...lifetime);
}

/** Both links have a lease and an operator's address; the one that came first is the primary. */
async function start(
  options: Partial<LabOptions>,
  onStop: string,
): Promise<{ readonly scenario: Scenario; readonly watch: AddressWatch }> {
  const scenario = await Scenario.start({
    ...options,
    uplinks: 2,
    controller: { config: MANAGED(onStop) },
    prepare: async (lab) => {
      if (options.dhcp === "none") await startMover(lab);
      await lab.host.shell(NOT_PROMOTING.join("\n"));
      await addOperators(lab, 0);
    },
  });
  const { lab } = scenario;
  try {
    await addOperators(lab, 1);
    const isSecondary = async (link: string, address: string) =>
      (await addressesOf(lab, link)).find(({ local }) => local === address)?.secondary;
    assert.equal(await isSecondary("wan0", "10.0.0.100"), true);
    assert.equal(await isSecondary("wan0", OPERATORS[0]), false);
    assert.equal(await isSecondary("wan1", "10.1.0.100"), false);
    assert.equal(await isSecondary("wan1", OPERATORS[1]), true);
    return { scenario, watch: await AddressWatch.start(lab) };
  } catch (error) {
    await scenario[Symbol.asyncDispose]();
    throw error;
  }
}

const RECORDED = { xid: 0x01020304, mac: "02:00:00:00:00:aa" };

/** OFFER (2) or ACK (5) of 10.i.0.host, by the server 10.i.0.2, for an hour. */
function reply(type: 2 | 5, index: number, host: number): readonly RawAnswer[] {
  const message = Buffer.alloc(240);
  message.set([2, 1, 6]);
  message.writeUInt32BE(RECORDED.xid, 4);
  message.set([10, index, 0, host], 16);
  message.write(RECORDED.mac.replaceAll(":", ""), 28, "hex");
  message.writeUInt32BE(0x63825363, 236);
  const options = [53, 1, type, 54, 4, 10, index, 0, 2, 51, 4, 0, 0, 14, 16];
  options.push(1, 4, 255, 255, 255, 0, 3, 4, 10, index, 0, 1, 255);
  return [
    { layer: "payload", hex: Buffer.concat([message, Buffer.from(options)]).toString("hex") },
  ];
}

/** A server that grants .100, and at the next request .101 without a word. */
async function startMover({ isps, directory }: Lab): Promise<void> {
  for (const { index, namespace } of isps) {
    const ifindex = Number(await namespace.shell("cat /sys/class/net/lan/ifindex"));
    const script: RawScript = {
      recorded: RECORDED,
      serverMac: `02:00:00:00:01:0${index}`,
      server: `10.${index}.0.2`,
      links: [
        {
          name: "lan",
          ifindex,
          discover: [reply(2, index, 100)],
          request: [reply(5, index, 100), reply(5, index, 101)],
        },
      ],
    };
    const file = `${directory}/mover${index}.json`;
    writeFileSync(file, JSON.stringify(script));
    const program = fileURLToPath(new URL("../lab/raw-server.js", import.meta.url));
    const server = namespace.start(`mover${index}`, [process.execPath, program, file]);
    await server.waitForLog(/^ready$/m);
  }
}

/** Renews on both links, and waits until each is usable with its second address. */
async function changeAddresses({ lab, log }: Scenario): Promise<void> {
  for (const [index, link] of LINKS.entries()) {
    const from = log.events.length;
    const moved = `10.${index}.0.101`;
    assert.equal((await lab.mnmctl("renew", link)).code, 0);
    await log.until(`${link} usable with ${moved}`, ({ events }) =>
      events
        .slice(from)
        .some(
          ({ kind, link: of, after }) =>
            kind === EventKind.UPLINK_USABLE && of?.name === link && after === `${moved}/24`,
        ),
    );
    await until(
      async () => {
        const locals = (await addressesOf(lab, link)).map(({ local }) => local);
        return locals.toSorted().join() === [moved, OPERATORS[index]].join();
      },
      { timeoutMs: 5000, what: "our old address to go" },
    );
    assert.equal(await lab.whoami({ address: moved }), index);
  }
}

/** Nothing of ours is left, and the setting is what it was. */
async function assertWithdrawn(lab: Lab): Promise<void> {
  assert.deepEqual(await ours(lab.host), []);
  const values = await lab.host.shell(
    LINKS.map((link) => `cat /proc/sys/net/ipv4/conf/${link}/promote_secondaries`).join("\n"),
  );
  assert.equal(values, "0\n0\n");
}

describe("an operator's second address in the leased prefix stays", () => {
  test("when the server refuses a renewal, and grants another address", async () => {
    const { scenario, watch } = await start({}, "keep");
    await using _ = scenario;
    for (const index of LINKS.keys()) await scenario.lab.moveAddress(index);
    await changeAddresses(scenario);
    await watch.verify();
  });

  test("when a renewal brings another address", async () => {
    const { scenario, watch } = await start({ dhcp: "none" }, "keep");
    await using _ = scenario;
    await changeAddresses(scenario);
    await watch.verify();
  });

  test("when the lease expires", async () => {
    const { scenario, watch } = await start({ dhcp: "builtin", leaseSec: 15 }, "keep");
    await using _ = scenario;
    const { lab, log } = scenario;
    for (const isp of lab.isps) await isp.dhcp.stop();
    for (const link of LINKS) {
      await log.event(EventKind.LEASE_EXPIRED, link);
      await log.event(EventKind.UPLINK_UNUSABLE, link);
    }
    await until(async () => (await ours(lab.host)).length === 0, {
      timeoutMs: 5000,
      what: "nothing of ours in the kernel",
    });
    await watch.verify();
  });

  for (const onStop of ["flush", "release"]) {
    test(`when the controller ends and on_stop is ${onStop}`, async () => {
      const { scenario, watch } = await start({}, onStop);
      await using _ = scenario;
      assert.equal((await scenario.controller.stop()).code, 0);
      await watch.verify();
      await assertWithdrawn(scenario.lab);
    });
  }

  test("when an operator gives the lease back", async () => {
    const { scenario, watch } = await start({}, "keep");
    await using _ = scenario;
    const { lab } = scenario;
    for (const link of LINKS) {
      const { code, stderr } = await lab.mnmctl("release", link);
      assert.equal(code, 0, stderr);
    }
    assert.deepEqual(await ours(lab.host), []);
    await watch.verify();
  });

  test("when the link is no longer managed", async () => {
    const { scenario, watch } = await start({}, "keep");
    await using _ = scenario;
    const { lab } = scenario;
    lab.launcher.writeConfig("default: ignore\n");
    assert.equal((await lab.mnmctl("reload")).code, 0);
    await until(async () => (await ours(lab.host)).length === 0, {
      timeoutMs: 5000,
      what: "nothing of ours in the kernel",
    });
    await watch.verify();
    await assertWithdrawn(lab);
  });
});
