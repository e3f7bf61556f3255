import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { EventKind, LinkState } from "@mnm/proto/network-manager";
import { type Namespace, until } from "../lab/index.js";
import { kernelText } from "./kernel-text.js";
import { Scenario, usableLinks } from "./scenario.js";

const SEND_FRAMES = fileURLToPath(new URL("./send-frames.js", import.meta.url));
const STRANGER = "02:00:00:00:99:99";

const CONFIG = `default: ignore
links:
  wan0: {}
  wan1: { conflict_detection: strict }
  wan2: { conflict_detection: off }
  wan3: {}
  wan4: {}
`;

/** RFC 5227 §1.1 and RFC 2131 §3.1(5), on real links with a real stranger. */
describe("address conflicts", () => {
  let scenario: Scenario;
  before(async () => {
    const options = { uplinks: 5, usable: 0, dhcp: "builtin", leaseSec: 600 } as const;
    scenario = await Scenario.start({ ...options, controller: { config: CONFIG } });
  });
  after(() => scenario[Symbol.asyncDispose]());

  const isp = (index: number): Namespace => {
    const found = scenario.lab.isps[index];
    assert.ok(found);
    return found.namespace;
  };
  /** Now, or soon: the stream may have begun after it became so. */
  const usable = (name: string) =>
    scenario.log.until(`${name} usable`, (log) => usableLinks(log).has(name));
  const counters = async (name: string): Promise<Readonly<Record<string, bigint>>> =>
    (await scenario.link(name)).dhcp?.counters ?? {};
  const counted = (name: string, counter: string, least = 1) =>
    until(async () => ((await counters(name))[counter] ?? 0n) >= least, {
      timeoutMs: 20_000,
      what: `${counter} of ${name} at ${least}`,
    });

  /** An ARP request on the segment of an uplink, by which `mac` says that it has `address`. */
  async function claim(index: number, address: string, mac: string): Promise<void> {
    const segment = isp(index);
    const ifindex = (await segment.shell("cat /sys/class/net/lan/ifindex")).trim();
    const station = mac.replaceAll(":", "");
    const sender = Buffer.from(address.split(".").map(Number)).toString("hex");
    const arp = `0001080006040001${station}${sender}000000000000${sender}`;
    const frame = `ffffffffffff${station}0806${arp}`;
    const sent = await segment.exec(process.execPath, SEND_FRAMES, ifindex, frame);
    assert.equal(sent.code, 0, sent.stderr);
  }

  test("an address that somebody has is used at once, found out, given up and declined", async () => {
    const { lab, log } = scenario;
    await usable("wan3");
    // Once the first probing is over, or that would find the stranger before we begin anew.
    await counted("wan3", "arp-sent-announcement");
    // The stranger comes first; then the uplink starts anew, with nothing remembered.
    await isp(3).ip("addr", "add", "10.3.0.100/32", "dev", "lan");
    const start = log.events.length;
    const { code, stderr } = await lab.mnmctl("reconnect", "wan3");
    assert.equal(code, 0, stderr);
    const conflict = await log.event(EventKind.CONFLICT, "wan3", start);
    assert.match(conflict.text, /uses 10\.3\.0\.100 too; gave the address up/);
    const declined = await log.event(EventKind.LEASE_DECLINED, "wan3", start);
    assert.match(declined.text, /^declined 10\.3\.0\.100\/24: [0-9a-f]{2}:[0-9a-f:]+ has it$/);
    const wait = (await scenario.link("wan3")).dhcp?.wait;
    assert.deepEqual([wait?.cause, wait?.address], ["conflict", "10.3.0.100"]);
    await lab.isps[3]?.dhcp.waitForLog(/DECLINE/);
    await until(async () => !(await lab.host.ip("addr")).includes("10.3.0.100"), {
      timeoutMs: 5_000,
      what: "the address to go",
    });
    const { rules } = await kernelText(lab.host);
    assert.deepEqual(
      rules.filter((rule) => rule.includes("10.3.0.100")),
      [],
    );

    await isp(3).ip("addr", "del", "10.3.0.100/32", "dev", "lan");
    const free = log.events.length;
    // Ten seconds later it is asked for again, and is ours.
    await log.event(EventKind.UPLINK_USABLE, "wan3", free);
  });

  test("a stranger's claim is answered once; the second within 10 s is believed", async () => {
    const { log } = scenario;
    await usable("wan0");
    // Probing is over when the address has been announced twice.
    await counted("wan0", "arp-sent-announcement", 2);
    const start = log.events.length;
    await claim(0, "10.0.0.100", STRANGER);
    const first = await log.event(EventKind.CONFLICT, "wan0", start);
    assert.match(first.text, /02:00:00:00:99:99 uses 10\.0\.0\.100 too; told it/);
    await counted("wan0", "arp-sent-announcement", 3);
    assert.equal((await scenario.link("wan0")).state, LinkState.USABLE);

    const second = log.events.length;
    await claim(0, "10.0.0.100", STRANGER);
    const lost = await log.event(EventKind.CONFLICT, "wan0", second);
    assert.match(lost.text, /gave the address up/);
    await log.event(EventKind.LEASE_DECLINED, "wan0", second);
    await log.event(EventKind.UPLINK_UNUSABLE, "wan0", second);
    const seen = await counters("wan0");
    assert.deepEqual([seen["conflict-defended"], seen["conflict-lost"]], [1n, 1n]);
  });

  test("a claim by another link of this host is none", async () => {
    const { log } = scenario;
    await counted("wan4", "arp-sent-announcement", 2);
    const start = log.events.length;
    const own = scenario.lab.isps[2]?.numbers.mac ?? "";
    await claim(4, "10.4.0.100", own);
    // The next stranger's claim is the first that counts.
    await claim(4, "10.4.0.100", STRANGER);
    const conflict = await log.event(EventKind.CONFLICT, "wan4", start);
    assert.match(conflict.text, /^02:00:00:00:99:99 .* told it/);
    assert.equal((await counters("wan4"))["conflict-defended"], 1n);
  });

  test("strict: the address is on the link only after nobody answered", async () => {
    const { lab, log } = scenario;
    await usable("wan1");
    const start = log.events.length;
    const probes = (await counters("wan1"))["arp-sent-probe"] ?? 0n;
    assert.equal((await lab.mnmctl("reconnect", "wan1")).code, 0);
    await log.event(EventKind.LEASE_BOUND, "wan1", start);
    assert.doesNotMatch(await lab.host.ip("addr", "show", "dev", "wan1"), /10\.1\.0\.100/);
    assert.equal((await scenario.link("wan1")).state, LinkState.CONFIGURING);
    await log.event(EventKind.UPLINK_USABLE, "wan1", start);
    const after = (await counters("wan1"))["arp-sent-probe"] ?? 0n;
    assert.equal(after - probes, 3n);
  });

  test("off: no ARP packet of ours", async () => {
    await usable("wan2");
    const seen = Object.keys(await counters("wan2"));
    assert.deepEqual(
      seen.filter((name) => name.startsWith("arp-")),
      [],
    );
  });
});

/** RFC 4436 beside INIT-REBOOT. */
describe("carrier returns where no server answers", () => {
  let scenario: Scenario;
  before(async () => {
    scenario = await Scenario.start({ uplinks: 3, dhcp: "builtin", leaseSec: 600 });
  });
  after(() => scenario[Symbol.asyncDispose]());

  /** The gateway of wan2 has another MAC from now on, and the lease is renewed once. */
  async function replaceRouter(): Promise<void> {
    const { lab, log } = scenario;
    const segment = lab.isps[2]?.namespace;
    assert.ok(segment);
    await segment.ip("link", "set", "lan", "address", "02:00:00:00:77:77");
    await lab.host.ip("neigh", "flush", "dev", "wan2");
    await segment.ip("neigh", "flush", "dev", "lan");
    const start = log.events.length;
    assert.equal((await lab.mnmctl("renew", "wan2")).code, 0);
    await log.event(EventKind.LEASE_RENEWED, "wan2", start);
    const requests = async () => (await scenario.link("wan2")).dhcp?.counters["arp-sent-request"];
    await until(async () => (await requests()) === 2n, {
      timeoutMs: 20_000,
      what: "wan2 to ask for its gateway again",
    });
  }

  test("the lease lives on where the gateway is the same, and ends where it is silent", async () => {
    const { lab, log } = scenario;
    for (const name of ["wan0", "wan1", "wan2"]) {
      await until(
        async () => (await scenario.link(name)).dhcp?.counters["arp-sent-request"] === 1n,
        {
          timeoutMs: 20_000,
          what: `${name} to ask for its gateway`,
        },
      );
    }
    await replaceRouter();
    const start = log.events.length;
    for (const index of [0, 1, 2]) {
      const isp = lab.isps[index];
      assert.ok(isp);
      await isp.dhcp.stop();
      await lab.unplug(index);
      await log.event(EventKind.CARRIER_CHANGED, `wan${index}`, start);
      if (index === 1) await isp.namespace.ip("addr", "flush", "dev", "lan");
      await isp.namespace.ip("link", "set", "lan", "up");
    }
    // Three requests, unanswered, take 28 s.
    const end = () =>
      log.events.find(
        ({ kind, link }) => kind === EventKind.LEASE_EXPIRED && link?.name === "wan1",
      );
    await until(async () => end() !== undefined, { timeoutMs: 60_000, what: "the lease's end" });
    assert.match(end()?.text ?? "", /10\.1\.0\.100/);
    for (const index of [0, 2]) {
      // Longer than wan1's, perhaps: its first request may have left later.
      const isOver = async () => (await scenario.link(`wan${index}`)).dhcp?.state === "bound";
      await until(isOver, { timeoutMs: 20_000, what: `the end of wan${index}'s check` });
      const { state, lease } = await scenario.link(`wan${index}`);
      assert.equal(state, LinkState.USABLE);
      assert.equal(lease?.address, `10.${index}.0.100/24`);
    }
    const lost = log.events.filter(({ kind }) => kind === EventKind.LEASE_EXPIRED);
    assert.deepEqual(
      lost.map(({ link }) => link?.name),
      ["wan1"],
    );
  });
});
