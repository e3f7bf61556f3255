import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { EventKind, LinkState } from "@mnm/proto/network-manager";
import { type Namespace, until } from "../lab/index.js";
import { KernelWatch } from "./kernel-watch.js";
import { Scenario } from "./scenario.js";

const PATIENCE = { timeoutMs: 20_000 };

function configOf(wan3: "off" | "strict"): string {
  return `default: ignore
links:
  wan0: { conflict_detection: strict }
  wan1: { conflict_detection: strict }
  wan2: {}
  wan3: { conflict_detection: ${wan3} }
`;
}

/** What ends while an address is being probed, and what begins. */
describe("while an address is probed", () => {
  let scenario: Scenario;
  let watch: KernelWatch;
  before(async () => {
    const options = { uplinks: 4, dhcp: "builtin", leaseSec: 600 } as const;
    scenario = await Scenario.start({ ...options, controller: { config: configOf("off") } });
    watch = await KernelWatch.start(scenario.lab.host);
  });
  after(async () => {
    await watch?.stop();
    await scenario[Symbol.asyncDispose]();
  });

  const isp = (index: number): Namespace => {
    const found = scenario.lab.isps[index];
    assert.ok(found);
    return found.namespace;
  };
  const counted = (name: string, counter: string, least: bigint) =>
    until(
      async () => {
        const { dhcp } = await scenario.link(name);
        return (dhcp?.counters[counter] ?? 0n) >= least;
      },
      { ...PATIENCE, what: `${counter} of ${name} at ${least}` },
    );

  /** Begins anew; answers, once the address is probed and not on the link, the kernel's line then. */
  async function reconnect(name: string, address: string): Promise<number> {
    const events = scenario.log.events.length;
    const lines = watch.lines.length;
    const { code, stderr } = await scenario.lab.mnmctl("reconnect", name);
    assert.equal(code, 0, stderr);
    await scenario.log.event(EventKind.LEASE_BOUND, name, events);
    const isRemoval = ({ isGone, text }: { isGone: boolean; text: string }) =>
      isGone && text.includes(`inet ${address}/`);
    const removal = await watch.next(lines, isRemoval, `the removal of ${address}`);
    return watch.lines.findIndex(({ at, text }) => at === removal.at && text === removal.text) + 1;
  }

  /** What the kernel has been told to hold of an address since. */
  function additions(since: number, address: string): readonly string[] {
    return watch.lines
      .slice(since)
      .filter(({ isGone, text }) => !isGone && text.includes(address))
      .map(({ text }) => text);
  }

  test("strict, the helper is killed: the address stays away, and the stranger is found", async () => {
    const { lab, log } = scenario;
    const since = await reconnect("wan0", "10.0.0.100");
    await scenario.helper.stop("SIGKILL");
    assert.equal((await scenario.link("wan0")).state, LinkState.CONFIGURING);
    await isp(0).ip("addr", "add", "10.0.0.100/32", "dev", "lan");
    const events = log.events.length;
    scenario.helper = await lab.startHelper();
    await log.event(EventKind.LEASE_DECLINED, "wan0", events);
    assert.deepEqual(additions(since, "10.0.0.100"), []);
    await isp(0).ip("addr", "del", "10.0.0.100/32", "dev", "lan");
  });

  test("strict, an operator gives the lease up: the address stays away, and nobody is told", async () => {
    const { lab } = scenario;
    const since = await reconnect("wan1", "10.1.0.100");
    for (const command of ["reconnect", "release"]) {
      const events = scenario.log.events.length;
      const { code, stdout } = await lab.mnmctl(command, "wan1");
      assert.equal(code, 0);
      assert.match(stdout, /gave 10\.1\.0\.100\/24 up, but could not tell 10\.1\.0\.1/);
      if (command === "reconnect") await scenario.log.event(EventKind.LEASE_BOUND, "wan1", events);
    }
    assert.equal((await scenario.link("wan1")).state, LinkState.RELEASED);
    // A change of our own must show: the watch has seen all that came before.
    const lines = watch.lines.length;
    await lab.host.ip("address", "add", "127.9.9.8/32", "dev", "lo");
    await watch.next(lines, ({ text }) => text.includes("127.9.9.8"), "a change");
    assert.deepEqual(additions(since, "10.1.0.100"), []);
  });

  test("the controller is killed: the next one probes again, and finds the stranger", async () => {
    const { lab, log } = scenario;
    const directory = join(lab.launcher.stateDirectory, "leases");
    const recordOfWan2 = (): string | undefined => {
      const file = readdirSync(directory).find((name) => /wan2.*json$/.test(name));
      return file === undefined ? undefined : readFileSync(join(directory, file), "utf8");
    };
    const events = log.events.length;
    assert.equal((await lab.mnmctl("reconnect", "wan2")).code, 0);
    await log.event(EventKind.LEASE_BOUND, "wan2", events);
    const record = await until(recordOfWan2, { ...PATIENCE, what: "the lease on the disk" });
    await scenario.controller.stop("SIGKILL");
    assert.doesNotMatch(record, /"claimed"/);
    assert.equal(recordOfWan2(), record);
    assert.match(await lab.host.ip("addr", "show", "dev", "wan2"), /10\.2\.0\.100/);
    await isp(2).ip("addr", "add", "10.2.0.100/32", "dev", "lan");
    scenario.controller = await lab.startController({ config: configOf("off") });
    await scenario.resubscribe();
    await counted("wan2", "conflict-lost", 1n);
    await isp(2).ip("addr", "del", "10.2.0.100/32", "dev", "lan");
  });

  test("off becomes strict: the uplink stays in use meanwhile", async () => {
    const { lab, log } = scenario;
    assert.equal((await scenario.link("wan3")).state, LinkState.USABLE);
    const events = log.events.length;
    const lines = watch.lines.length;
    lab.launcher.writeConfig(configOf("strict"));
    const { code, stderr } = await lab.mnmctl("reload");
    assert.equal(code, 0, stderr);
    await counted("wan3", "arp-sent-announcement", 1n);
    const lost = watch.lines
      .slice(lines)
      .filter(({ isGone, text }) => isGone && /wan3|10\.3\.0\.100|7704/.test(text));
    assert.deepEqual(lost, []);
    const kinds = log.events.slice(events).filter(({ link }) => link?.name === "wan3");
    assert.deepEqual(
      kinds.map(({ text }) => text),
      [],
    );
  });
});
