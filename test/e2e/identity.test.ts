import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { type Link, LinkState } from "@mnm/proto/network-manager";
import { type Lab, until } from "../lab/index.js";
import { randomFrom, seedOf } from "./churn.js";
import { kernelText, ours } from "./kernel-text.js";
import { LinkWatch } from "./link-watch.js";
import { addressOf, entryOf, RACE_CONFIG, Race } from "./race.js";
import { Scenario } from "./scenario.js";

const PATIENCE_MS = 20_000;

/** What follows the identity, with the ISP that the link really leads to. */
async function belongings(scenario: Scenario, name: string) {
  const { identity, table, metric, addresses } = await scenario.link(name);
  const isp = await scenario.lab.whoami({ device: name });
  return { identity, table, metric, address: addresses[0]?.address, isp };
}

/** Waits until the link of that name fits, and everything is usable. */
function usable(scenario: Scenario, name: string, fits: (link: Link) => boolean) {
  return until(
    async () => {
      const { links } = await scenario.status();
      const link = links.find((candidate) => candidate.name === name);
      return link?.state === LinkState.USABLE && fits(link);
    },
    { timeoutMs: PATIENCE_MS, what: `${name} usable` },
  );
}

const hasAddress = (address: string) => (link: Link) =>
  link.addresses.some((one) => one.ours && one.address === `${address}/24`);

async function swapNames({ host }: Lab, one: string, other: string): Promise<void> {
  await host.ipBatch([
    `link set ${one} name swapping`,
    `link set ${other} name ${one}`,
    `link set swapping name ${other}`,
  ]);
}

describe("links matched by name", () => {
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({ uplinks: 3 });
  });
  after(() => scenario[Symbol.asyncDispose]());

  test("two names exchanged: table and metric are the name's, the address what the cable gives", async () => {
    const held = await kernelText(scenario.lab.host);
    await swapNames(scenario.lab, "wan0", "wan1");
    await usable(scenario, "wan0", hasAddress("10.1.0.100"));
    await usable(scenario, "wan1", hasAddress("10.0.0.100"));
    const zero = { identity: "name:wan0", table: 7701, metric: 1000 };
    assert.deepEqual(await belongings(scenario, "wan0"), {
      ...zero,
      address: "10.1.0.100/24",
      isp: 1,
    });
    const one = { identity: "name:wan1", table: 7702, metric: 1001 };
    assert.deepEqual(await belongings(scenario, "wan1"), {
      ...one,
      address: "10.0.0.100/24",
      isp: 0,
    });
    await swapNames(scenario.lab, "wan0", "wan1");
    await usable(scenario, "wan0", hasAddress("10.0.0.100"));
    await usable(scenario, "wan1", hasAddress("10.1.0.100"));
    const isAsBefore = async () => isDeepStrictEqual(await kernelText(scenario.lab.host), held);
    await until(isAsBefore, { timeoutMs: PATIENCE_MS, what: "the kernel as it was" });
  });

  test("a link that was in another network namespace is the same when it is back", async () => {
    const { host, inet } = scenario.lab;
    const held = await kernelText(host);
    const was = await belongings(scenario, "wan2");
    await host.ip("link", "set", "wan2", "netns", inet.name);
    const isGone = async () =>
      !(await ours(host)).some((line) => /wan2|7703|10\.2\.0\./.test(line));
    await until(isGone, { timeoutMs: PATIENCE_MS, what: "nothing of wan2" });
    await inet.ip("link", "set", "wan2", "netns", host.name);
    await host.ip("link", "set", "wan2", "up");
    await usable(scenario, "wan2", hasAddress("10.2.0.100"));
    assert.deepEqual(await belongings(scenario, "wan2"), was);
    assert.deepEqual(await kernelText(host), held);
  });

  test("another link with the ifindex gets nothing, the same with another ifindex all", async () => {
    const { lab } = scenario;
    const { ifindex } = await scenario.link("wan1");
    const was = await belongings(scenario, "wan1");
    const stranger = `link add stranger index ${ifindex} type veth peer name lan`;
    const mac = lab.isps[1]?.numbers.mac;
    await lab.host.ipBatch(["link del wan1", `${stranger}0`, "link set stranger up"]);
    await lab.addLink(1);
    await usable(scenario, "wan1", hasAddress("10.1.0.100"));
    assert.deepEqual(await belongings(scenario, "wan1"), was);
    assert.notEqual((await scenario.link("wan1")).ifindex, ifindex);
    assert.equal((await scenario.link("stranger")).state, LinkState.IGNORED);
    assert.equal((await scenario.link("stranger")).addresses.length, 0);
    const { routes } = await kernelText(lab.host);
    assert.ok(!routes.some((line) => line.includes("stranger")), routes.join("\n"));
    await lab.host.ipBatch(["link del wan1", "link del stranger"]);

    // Ifindex, name and MAC of the one before: to all that can be seen, the same link.
    const isp = lab.isps[1]?.namespace;
    const peer = `peer name lan netns ${isp?.name}`;
    await lab.host.ip(
      ..."link add wan1 index".split(" "),
      `${ifindex}`,
      "address",
      `${mac}`,
      "type",
      "veth",
      ...peer.split(" "),
    );
    await isp?.ipBatch(lab.isps[1]?.lanCommands() ?? []);
    await lab.host.ip("link", "set", "wan1", "up");
    await usable(scenario, "wan1", hasAddress("10.1.0.100"));
    assert.deepEqual(await belongings(scenario, "wan1"), was);
  });

  test("pulled out, and put in in another order: each has what it had", async () => {
    const { lab } = scenario;
    const names = ["wan0", "wan1", "wan2"];
    const held = await kernelText(lab.host);
    const was = await Promise.all(names.map((name) => belongings(scenario, name)));
    for (const index of [0, 1, 2]) await lab.removeLink(index);
    await until(async () => (await ours(lab.host)).length === 0, {
      timeoutMs: PATIENCE_MS,
      what: "nothing of ours",
    });
    for (const index of [2, 0, 1]) await lab.addLink(index);
    for (const index of [0, 1, 2])
      await usable(scenario, `wan${index}`, hasAddress(`10.${index}.0.100`));
    assert.deepEqual(await Promise.all(names.map((name) => belongings(scenario, name))), was);
    assert.deepEqual(await kernelText(lab.host), held);
  });
});

test("links matched by MAC keep table, metric and lease when their names are exchanged", async () => {
  const entry = (index: number) =>
    `  port${index}: { match: { mac: "02:00:00:00:00:0${index}" }, metric: ${50 - index} }`;
  const config = `default: ignore\nlinks:\n${[0, 1].map(entry).join("\n")}\n`;
  await using scenario = await Scenario.start({ uplinks: 2, controller: { config } });
  const was = await Promise.all(["wan0", "wan1"].map((name) => belongings(scenario, name)));
  await swapNames(scenario.lab, "wan0", "wan1");
  await usable(scenario, "wan0", hasAddress("10.1.0.100"));
  await usable(scenario, "wan1", hasAddress("10.0.0.100"));
  const now = await Promise.all(["wan1", "wan0"].map((name) => belongings(scenario, name)));
  assert.deepEqual(now, was);
});

test("10,000 racing operations on links: never a write to a wrong one", async (context) => {
  await using scenario = await Scenario.start({ uplinks: 1, controller: { config: RACE_CONFIG } });
  const { lab } = scenario;
  const seed = seedOf();
  const count = Number(process.env["RACE_OPERATIONS"] ?? 10_000);
  const lines = new Race(randomFrom(seed)).run(count);
  const watch = await LinkWatch.start(lab.host, `${lab.directory}/record`);
  const file = `${lab.directory}/race`;
  writeFileSync(file, `${lines.join("\n")}\n`);
  const startedAt = performance.now();
  await lab.host.ip("-b", file);
  const tookMs = performance.now() - startedAt;

  await until(async () => sameLines(await heldOf(scenario), await wantedOf(lab)), {
    timeoutMs: PATIENCE_MS,
    what: `the addresses of the links that are left (SEED=${seed})`,
  });
  const { links, writes, late, latestMs, wrong } = await watch.verdict(lab.host);
  context.diagnostic(
    `SEED=${seed}: ${lines.length} operations on ${links} links in ${tookMs.toFixed(0)} ms; ${writes} objects written, ${late} of them on a link that had ceased to be the one, for ${latestMs.toFixed(1)} ms at most`,
  );
  assert.deepEqual(wrong, []);
  assert.ok(writes > 100, `${writes} writes`);
  // Without the helper's look at the name and the MAC it is one in six.
  assert.ok(late <= writes / 30, `${late} of ${writes} writes came late`);
  assert.equal(await lab.whoami({ device: "wan0" }), 0);
  assert.equal(/"level":(50|60)/.test(scenario.controller.log()), false);
});

/** Our addresses as the kernel holds them: `s0 10.77.0.2`. */
async function heldOf({ lab }: Scenario): Promise<readonly string[]> {
  return (await kernelText(lab.host)).addresses
    .filter((line) => line.includes(" 10.77."))
    .map((line) => /^(\S+) inet ([\d.]+)/.exec(line)?.slice(1).join(" ") ?? line);
}

async function wantedOf({ host }: Lab): Promise<readonly string[]> {
  const links: readonly { readonly ifname: string; readonly address: string }[] = JSON.parse(
    await host.ip("-j", "link"),
  );
  return links.flatMap(({ ifname, address }) => {
    const entry = entryOf(ifname, address);
    return entry === undefined ? [] : [`${ifname} ${addressOf(entry)}`];
  });
}

function sameLines(one: readonly string[], other: readonly string[]): boolean {
  return one.toSorted().join("\n") === other.toSorted().join("\n");
}
