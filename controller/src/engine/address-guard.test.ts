import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatIpv4, type Ipv4, type MacAddress } from "@mnm/proto/net";
import { parseConfig } from "../config/index.js";
import { mac } from "../testing/dhcp4-server.js";
import { EngineSimulation, makeWorld, type World } from "../testing/engine-simulation.js";
import { ip, makeLink } from "../testing/make.js";
import type { EngineEffect, EngineReply } from "./messages.js";

const STRANGER = mac("02:00:00:00:00:99");
const ROUTER = mac("02:00:00:00:00:fe");
const SPARE_ROUTER = mac("02:00:00:00:00:fd");
const HELPER = { version: "0", capabilities: [] } as const;
const NO_CARRIER = { carrier: false, operstate: "down" } as const;
const CARRIER = { carrier: true, operstate: "up" } as const;
const ADDRESS = ip("10.0.1.100");
const GATEWAY = ip("10.0.1.1");

/** wan1 under an engine in virtual time, and what its ARP and its address do: "0.1 s probe". */
class Bench {
  readonly world: World;
  readonly simulation: EngineSimulation;
  readonly #log: string[] = [];

  constructor(mode: "off" | "optimistic" | "strict", world = makeWorld([1])) {
    this.world = world;
    const config = configOf(mode);
    this.simulation = new EngineSimulation(world, config, {
      onEffect: (effect) => {
        const text = textOf(effect);
        if (text !== undefined) this.#log.push(`${world.now / 1000} s ${text}`);
      },
    });
  }

  /** What was done since the last call. */
  take(): readonly string[] {
    return this.#log.splice(0);
  }

  /** Whether the address has been put on the link since the last `take`. */
  get isPut(): boolean {
    return this.#log.some((line) => line.includes("put-address"));
  }

  get isUsable(): boolean {
    return this.simulation.status.links[0]?.state === "usable";
  }

  ask(kind: "release" | "reconnect"): EngineReply | undefined {
    const before = this.simulation.replies.length;
    this.simulation.post({ kind: "request", id: 1, request: { kind, link: "wan1" } });
    return this.simulation.replies[before];
  }

  reload(mode: "off" | "optimistic" | "strict"): void {
    const config = parseConfig(configOf(mode), "test.yaml");
    assert.ok(config.ok);
    const request = { kind: "reload", config: config.value, file: "test.yaml" } as const;
    this.simulation.post({ kind: "request", id: 2, request });
  }

  /** An ARP reply on the link's segment. */
  hear(sender: Ipv4, senderMac: MacAddress): void {
    const packet = Uint8Array.from([
      ...[0, 1, 8, 0, 6, 4, 0, 2],
      ...senderMac.split(":").map((byte) => Number.parseInt(byte, 16)),
      ...bytesOf(sender),
      ...[0, 0, 0, 0, 0, 0],
      ...bytesOf(ADDRESS),
    ]);
    this.simulation.post({ kind: "arp-packet", ifindex: makeLink(1).ifindex, packet });
  }

  helperDies(): void {
    this.simulation.post({ kind: "helper-lost", text: "killed" });
  }

  helperReturns(): void {
    this.simulation.post({ kind: "helper-ready", helper: HELPER });
  }
}

function configOf(mode: string): string {
  return `links: { wan1: { conflict_detection: ${mode} } }`;
}

function bytesOf(address: Ipv4): readonly number[] {
  return formatIpv4(address).split(".").map(Number);
}

function textOf(effect: EngineEffect): string | undefined {
  switch (effect.kind) {
    case "send-arp": {
      const { message } = effect;
      const to = message.kind === "request" ? (message.gatewayMac ?? "all") : undefined;
      return to === undefined ? message.kind : `${message.kind} to ${to.slice(-3)}`;
    }
    case "watch-arp":
      return `watch ${effect.addresses.map(formatIpv4).join(" ") || "nobody"}`;
    case "apply": {
      const kinds = effect.operations.map(({ operation }) => operation.kind);
      return kinds.find((kind) => kind.endsWith("-address"));
    }
    default:
      return undefined;
  }
}

function probesOf(lines: readonly string[]): number {
  return lines.filter((line) => line.endsWith(" probe")).length;
}

describe("strict", () => {
  test("puts the address on the link once nobody has answered three probes", () => {
    const bench = new Bench("strict");
    bench.simulation.advance(3_900);
    assert.ok(!bench.isPut);
    assert.ok(!bench.isUsable);
    bench.simulation.advance(6_100);
    assert.ok(bench.isUsable);
    const lines = bench.take();
    const put = lines.findIndex((line) => line.includes("put-address"));
    assert.equal(probesOf(lines.slice(0, put)), 3);
    assert.equal(probesOf(lines), 3);
  });

  test("an address that somebody has never gets onto the link", () => {
    const bench = new Bench("strict");
    bench.simulation.advance(3_000);
    bench.hear(ADDRESS, STRANGER);
    bench.simulation.advance(5_000);
    assert.ok(!bench.isPut);
    assert.match(bench.simulation.diary("wan1").join(), /uses 10\.0\.1\.100 too; gave the address/);
  });

  test("the helper dies while we probe: it is probed anew, without use of the address", () => {
    const bench = new Bench("strict");
    bench.simulation.advance(2_000);
    bench.helperDies();
    bench.take();
    bench.simulation.advance(10_000);
    assert.deepEqual(bench.take(), [], "nobody is there to send it");
    bench.helperReturns();
    assert.deepEqual(bench.take(), ["12 s watch 10.0.1.100"]);
    bench.simulation.advance(2_000);
    assert.ok(!bench.isPut);
    bench.hear(ADDRESS, STRANGER);
    bench.simulation.advance(1_000);
    assert.ok(!bench.isPut);
  });

  test("carrier goes while we probe: the address waits until it has been probed", () => {
    const bench = new Bench("strict");
    bench.simulation.advance(1_000);
    bench.simulation.changeLink(1, NO_CARRIER);
    bench.helperDies();
    bench.helperReturns();
    bench.simulation.advance(2_000);
    assert.ok(!bench.isPut, "nothing is guarded without carrier");
    bench.simulation.changeLink(1, CARRIER);
    bench.simulation.advance(2_000);
    assert.ok(!bench.isPut);
    bench.simulation.advance(10_000);
    assert.ok(bench.isUsable);
  });

  for (const kind of ["release", "reconnect"] as const) {
    test(`${kind} while we probe: the server cannot be told, and the address is not used`, () => {
      const bench = new Bench("strict");
      bench.simulation.advance(2_000);
      const reply = bench.ask(kind);
      assert.ok(reply?.kind === "released" || reply?.kind === "reconnecting");
      const { givenUp } = reply;
      const server = "10.0.1.1";
      assert.deepEqual(givenUp, { address: "10.0.1.100/24", server, serverTold: false });
      assert.deepEqual(bench.simulation.unicasts, []);
      bench.simulation.advance(1_000);
      assert.ok(!bench.isPut);
      assert.match(bench.simulation.diary("wan1").join(), /given up; server .* not be told/);
    });
  }

  test("reconnect twice: what the first one gave back does not return with the second", () => {
    const bench = new Bench("strict");
    bench.simulation.advance(10_000);
    bench.ask("reconnect");
    bench.simulation.advance(50);
    assert.ok(!bench.isUsable, "the new lease is probed");
    bench.take();
    bench.ask("reconnect");
    bench.simulation.advance(1_000);
    assert.ok(!bench.isPut);
  });

  test("from a reload on, a working uplink stays, and is probed while it is used", () => {
    const bench = new Bench("off");
    bench.simulation.advance(60_000);
    assert.deepEqual(
      bench.take().filter((line) => !line.includes("put-address")),
      [],
      "off: no ARP",
    );
    const uplinkEvents = bench.simulation.diary("wan1").length;
    bench.reload("strict");
    bench.simulation.advance(150);
    bench.helperDies();
    bench.helperReturns();
    bench.simulation.advance(10_000);
    assert.ok(probesOf(bench.take()) >= 3);
    assert.equal(bench.simulation.diary("wan1").length, uplinkEvents, "nothing happened to it");
    assert.ok(bench.isUsable);
  });
});

describe("optimistic", () => {
  test("a claimed address outlives the helper without another probe", () => {
    const bench = new Bench("optimistic");
    bench.simulation.advance(10_000);
    assert.equal(probesOf(bench.take()), 3);
    bench.helperDies();
    bench.simulation.advance(1_000);
    assert.deepEqual(bench.take(), [], "nothing is sent while the helper is away");
    bench.helperReturns();
    bench.simulation.advance(10_000);
    const lines = bench.take();
    assert.equal(lines[0], "11 s watch 10.0.1.100", "the new helper is told");
    assert.equal(probesOf(lines), 0);
    // And it is defended as before.
    bench.hear(ADDRESS, STRANGER);
    assert.deepEqual(bench.take(), ["21 s announcement"]);
  });

  test("a port that is not open is sent nothing", () => {
    const bench = new Bench("optimistic");
    bench.simulation.advance(100);
    bench.helperDies();
    bench.take();
    // The lease lives on meanwhile, and its gateway may change nothing here.
    bench.simulation.advance(600_000);
    bench.simulation.changeLink(1, { mtu: 1400 });
    assert.deepEqual(
      bench.take().filter((line) => !line.includes("address")),
      [],
    );
  });
});

describe("a controller that is killed", () => {
  test("while it probes: the next one probes again, and finds the stranger", () => {
    const before = new Bench("optimistic");
    before.simulation.advance(1_000);
    assert.ok(before.isUsable);
    const bench = new Bench("optimistic", before.world);
    assert.ok(bench.isUsable, "the address is there and stays in use");
    bench.simulation.advance(500);
    assert.equal(probesOf(bench.take()), 3);
    bench.hear(ADDRESS, STRANGER);
    assert.match(bench.simulation.diary("wan1").join(), /uses 10\.0\.1\.100 too; gave the address/);
  });

  test("once the address was claimed: the next one asks for the gateway alone", () => {
    const before = new Bench("optimistic");
    before.simulation.advance(10_000);
    const bench = new Bench("optimistic", before.world);
    bench.simulation.advance(10_000);
    assert.ok(bench.isUsable);
    const lines = bench.take();
    assert.equal(probesOf(lines), 0);
    assert.match(lines.join(), /request to all/);
  });

  test("strict: an address that was on the link keeps its use while it is probed", () => {
    const before = new Bench("optimistic");
    before.simulation.advance(1_000);
    const bench = new Bench("strict", before.world);
    assert.ok(bench.isUsable);
    bench.simulation.advance(500);
    assert.equal(probesOf(bench.take()), 3);
    assert.ok(bench.isUsable);
  });
});

describe("another router takes over", () => {
  test("with a renewal its MAC is learnt, and a silent server costs no uplink", () => {
    const bench = new Bench("optimistic");
    bench.simulation.advance(2_500);
    bench.hear(GATEWAY, ROUTER);
    bench.simulation.advance(10_000);
    bench.take();
    // T1 of the simulation's hour is at 1,800 s.
    bench.simulation.advance(1_788_000);
    assert.match(bench.take().join(), /^1800 s .*request to all/);
    bench.hear(GATEWAY, SPARE_ROUTER);
    // What the first one would say, nobody waits for any more.
    bench.simulation.advance(60_000);
    bench.world.silentServers.add(1);
    bench.simulation.changeLink(1, NO_CARRIER);
    bench.simulation.advance(500);
    bench.simulation.changeLink(1, CARRIER);
    assert.match(bench.take().join(), /request to :fd/);
    bench.hear(GATEWAY, SPARE_ROUTER);
    bench.simulation.advance(60_000);
    assert.ok(bench.isUsable);
    assert.doesNotMatch(bench.simulation.diary("wan1").join(), /nobody confirmed/);
  });

  test("and is silent in its turn: then the lease is lost, as in another network", () => {
    const bench = new Bench("optimistic");
    bench.simulation.advance(2_500);
    bench.hear(GATEWAY, ROUTER);
    bench.simulation.advance(10_000);
    bench.world.silentServers.add(1);
    bench.simulation.changeLink(1, NO_CARRIER);
    bench.simulation.advance(500);
    bench.simulation.changeLink(1, CARRIER);
    bench.simulation.advance(60_000);
    assert.ok(!bench.isUsable);
    assert.match(bench.simulation.diary("wan1").join(), /nobody confirmed/);
  });
});
