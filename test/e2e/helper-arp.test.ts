import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { readdirSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { type ClientReadableStream, type ServiceError, status } from "@grpc/grpc-js";
import type {
  ArpMessage,
  HelperClient,
  LinkRef,
  OperationResult,
  ReceiveArpResponse,
} from "@mnm/proto/helper";
import { must } from "../lab/run.js";
import { apply, HelperRig, ip4, linkRef, outcomeOf, until, verbs } from "./helper-rig.js";

const OUR_MAC = "020000000002";
const ROUTER_MAC = "020000000001";
const ALL = "ffffffffffff";
const OURS = ip4("192.0.2.2");
const ROUTER = ip4("192.0.2.1");
const OTHER = ip4("192.0.2.9");

const hex = (address: number) => address.toString(16).padStart(8, "0");
const outcomes = ({ results }: { results: readonly OperationResult[] }) => results.map(outcomeOf);

const probe = (target: number): ArpMessage["kind"] => ({ $case: "probe", value: { target } });
const announcement = (address: number): ArpMessage["kind"] => ({
  $case: "announcement",
  value: { address },
});
const request = (sender: number, gateway: number, mac = ""): ArpMessage["kind"] => ({
  $case: "request",
  value: { sender, gateway, gatewayMac: Buffer.from(mac, "hex") },
});

/** The ARP packet of a station, as hex. `mark` is its target hardware address. */
function arp(sender: number, target: number, { head = "0001080006040001", mark = 0 } = {}) {
  return `${head}0200000000aa${hex(sender)}${mark.toString(16).padStart(12, "0")}${hex(target)}`;
}

/** A frame of a station, filled up as Ethernet does it. */
function frame(packet: string, { to = ALL, type = "0806" } = {}) {
  return `${to}0200000000aa${type}${packet}`.padEnd(120, "0");
}

/** What the other end of a link hears, and may say. */
class Station {
  readonly #child: ChildProcess;
  #lines: string[] = [];

  constructor(child: ChildProcess) {
    this.#child = child;
    let rest = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      this.#lines.push(...lines);
    });
  }

  async ready(): Promise<void> {
    await until(() => this.#lines.includes("ready"));
  }

  /** Resolves when the kernel has taken the frames. */
  async say(...frames: readonly string[]): Promise<void> {
    const before = this.#count("sent");
    this.#child.stdin?.write(frames.map((one) => `${one}\n`).join(""));
    await until(() => this.#count("sent") === before + frames.length);
  }

  /** The frames of our MAC, as soon as there are that many; they are forgotten then. */
  async hear(count: number): Promise<readonly string[]> {
    const ours = () => this.#lines.filter((line) => line.slice(12, 24) === OUR_MAC);
    await until(() => ours().length >= count);
    const heard = ours();
    this.#lines = [];
    return heard;
  }

  #count(text: string): number {
    return this.#lines.filter((line) => line === text).length;
  }
}

describe("ARP", () => {
  const rig = new HelperRig();
  const isp = `${rig.namespace}-isp`;
  let client: HelperClient;
  let wan1: LinkRef;
  let router: Station;
  let stream: ClientReadableStream<ReceiveArpResponse>;
  let received: ReceiveArpResponse[] = [];

  before(async () => {
    await rig.start("--peer-uid", "0");
    await rig.addNamespace(isp);
    router = await connectLink("wan1");
    wan1 = await rig.link("wan1");
    await connect();
    const address = { link: wan1, address: OURS, prefixLength: 24, validSec: 600 };
    const route = { link: wan1, table: 7701, type: 1 as const, metric: 0, onlink: false };
    const toAll = { network: 0, length: 0 };
    const connected = { network: ip4("192.0.2.0"), length: 24 };
    const done = await apply(
      client,
      { $case: "putAddress", value: address },
      { $case: "putRoute", value: { ...route, destination: connected } },
      { $case: "putRoute", value: { ...route, destination: toAll, gateway: ROUTER, onlink: true } },
    );
    assert.deepEqual(done, ["done", "done", "done"]);
  });
  after(() => rig.close());

  /** A link of the helper, and the station at its other end. */
  async function connectLink(name: string): Promise<Station> {
    const far = `far-${name}`;
    await rig.ip("link", "add", name, "type", "veth", "peer", "name", far, "netns", isp);
    const [mac, farMac] = [OUR_MAC, ROUTER_MAC].map((bytes) => bytes.match(/../g)?.join(":") ?? "");
    // Neither end says anything on its own.
    for (const end of [name, far]) {
      const namespace = end === far ? isp : rig.namespace;
      const sysctl = `net.ipv6.conf.${end}.disable_ipv6=1`;
      await must("ip", ["netns", "exec", namespace, "sysctl", "-qw", sysctl]);
    }
    await rig.ip("link", "set", name, "address", mac ?? "", "up");
    await must("ip", ["-n", isp, "link", "set", far, "address", farMac ?? "", "arp", "off", "up"]);
    await until(async () => (await rig.ip("link", "show", name)).includes("state UP"));
    const [link] = JSON.parse(await must("ip", ["-n", isp, "-j", "link", "show", far]));
    const script = new URL("arp-station.js", import.meta.url).pathname;
    const station = new Station(rig.spawn(isp, process.execPath, script, `${link.ifindex}`));
    await station.ready();
    return station;
  }

  /** A new connection, with its stream. */
  async function connect(): Promise<void> {
    client = await rig.readyClient();
    received = [];
    stream = client.receiveArp({});
    stream.on("data", (one: ReceiveArpResponse) => received.push(one));
    stream.on("error", () => {});
    await new Promise((resolve) => stream.once("metadata", resolve));
  }

  const watch = async (addresses: readonly number[], link = wan1) =>
    outcomes(await verbs(client).watchArp([{ link, addresses }]));

  const send = async (kind: ArpMessage["kind"], link = wan1) =>
    outcomes(await verbs(client).sendArp([{ link, kind }]))[0];

  /** What has come, as hex, once `count` packets are there. */
  async function packets(count: number): Promise<readonly string[]> {
    await until(() => received.length >= count);
    return received.splice(0).map(({ packet }) => packet.toString("hex"));
  }

  const sockets = async () => {
    const text = await must("ip", ["netns", "exec", rig.namespace, "cat", "/proc/net/packet"]);
    return [...text.matchAll(/ 0806 /g)].length;
  };

  test("on the wire, every kind is what the RFCs say, byte by byte", async () => {
    const kinds: [ArpMessage["kind"], string, number, number][] = [
      [probe(OTHER), ALL, 0, OTHER],
      [announcement(OURS), ALL, OURS, OURS],
      [request(OURS, ROUTER), ALL, OURS, ROUTER],
      [request(OURS, ROUTER, ROUTER_MAC), ROUTER_MAC, OURS, ROUTER],
    ];
    const messages = kinds.map(([kind]) => ({ link: wan1, kind }));
    assert.deepEqual(outcomes(await verbs(client).sendArp(messages)), Array(4).fill("done"));
    assert.deepEqual(
      await router.hear(4),
      kinds.map(
        ([, to, sender, target]) =>
          `${to}${OUR_MAC}0806` +
          `0001080006040001${OUR_MAC}${hex(sender)}000000000000${hex(target)}`,
      ),
    );
  });

  test("refuses every message that says or asks more", async () => {
    await rig.ip("link", "add", "quiet", "type", "veth", "peer", "name", "quiet-far");
    await rig.ip("link", "set", "quiet", "arp", "off", "up");
    await rig.ip("route", "add", "198.51.100.0/24", "via", "192.0.2.3", "dev", "wan1", "onlink");
    const foreign = ["table", "7701", "proto", "static", "onlink"];
    await rig.ip("route", "add", "10.0.0.0/8", "via", "192.0.2.4", "dev", "wan1", ...foreign);
    // Of protocol 77, but over two gateways, as the helper makes none.
    const hops = [5, 6].flatMap((last) => [
      "nexthop",
      "via",
      `192.0.2.${last}`,
      "dev",
      "wan1",
      "onlink",
    ]);
    await rig.ip("route", "add", "10.0.0.0/9", "table", "7701", "proto", "77", ...hops);
    const quiet = await rig.link("quiet");
    const lo = linkRef(1, "lo", "00:00:00:00:00:00");
    const cases: [string, ArpMessage["kind"], LinkRef?][] = [
      ["not_permitted target", probe(0)],
      ["not_permitted target", probe(ip4("127.0.0.1"))],
      ["not_permitted target", probe(ip4("224.0.0.1"))],
      ["not_permitted target", probe(ip4("255.255.255.255"))],
      ["not_permitted address", announcement(ROUTER)],
      ["not_permitted address", announcement(0)],
      ["not_permitted sender", request(OTHER, ROUTER)],
      ["not_permitted sender", request(0, ROUTER)],
      ["not_permitted gateway", request(OURS, OTHER)],
      ["not_permitted gateway", request(OURS, 0)],
      // Gateways of other programs: in main, and in our table.
      ["not_permitted gateway", request(OURS, ip4("192.0.2.3"))],
      ["not_permitted gateway", request(OURS, ip4("192.0.2.4"))],
      ["not_permitted gateway", request(OURS, ip4("192.0.2.5"))],
      ["malformed gateway_mac", request(OURS, ROUTER, ALL)],
      ["malformed gateway_mac", request(OURS, ROUTER, "010000000001")],
      ["malformed gateway_mac", request(OURS, ROUTER, "000000000000")],
      ["malformed gateway_mac", request(OURS, ROUTER, "0200000000")],
      ["malformed kind", undefined],
      ["not_permitted link", probe(OTHER), quiet],
      ["not_permitted link", probe(OTHER), lo],
      ["link_mismatch name", probe(OTHER), { ...wan1, name: "wan2" }],
      ["link_mismatch mac", probe(OTHER), { ...wan1, mac: Buffer.alloc(6) }],
      ["link_mismatch ifindex", probe(OTHER), { ...wan1, ifindex: 999 }],
    ];
    const messages = cases.map(([, kind, link = wan1]) => ({ link, kind }));
    assert.deepEqual(
      outcomes(await verbs(client).sendArp(messages)),
      cases.map(([want]) => want),
    );
    const watches = [
      { link: wan1, addresses: [1, 2, 3, 4, 5].map((last) => ROUTER + last) },
      { link: wan1, addresses: [ROUTER, 0] },
      { link: wan1, addresses: [ip4("224.0.0.1")] },
      { link: quiet, addresses: [ROUTER] },
      { link: lo, addresses: [ROUTER] },
      { link: { ...wan1, ifindex: 999 }, addresses: [] },
    ];
    assert.deepEqual(outcomes(await verbs(client).watchArp(watches)), [
      ...Array(3).fill("not_permitted addresses"),
      ...Array(2).fill("not_permitted link"),
      "link_mismatch ifindex",
    ]);
    assert.equal(await sockets(), 0);
    await rig.ip("route", "flush", "table", "7701", "proto", "static");
    await rig.ip("route", "del", "10.0.0.0/9", "table", "7701");
    await rig.ip("link", "del", "quiet");
  });

  test("takes 1 to 256 items a call, and nothing before Hello", async () => {
    const codeOf = (call: Promise<unknown>) =>
      call.then(
        () => "done",
        (error: ServiceError) => error.code,
      );
    const many = Array.from({ length: 257 }, () => ({ link: wan1, kind: probe(0) }));
    const watches = Array.from({ length: 257 }, () => ({ link: wan1, addresses: [0] }));
    const { sendArp, watchArp } = verbs(client);
    for (const call of [sendArp(many), sendArp([]), watchArp(watches), watchArp([])]) {
      assert.equal(await codeOf(call), status.INVALID_ARGUMENT);
    }
    // Before Hello a verb closes the connection.
    const closings = () => rig.log.split('"A verb outside of its state"').length - 1;
    const before = closings();
    await assert.rejects(verbs(rig.client()).sendArp([]));
    await assert.rejects(verbs(rig.client()).watchArp([]));
    const early = rig.client().receiveArp({});
    await new Promise((resolve) => early.once("error", resolve));
    await until(() => closings() === before + 3);
  });

  test("of what is on the wire, passes on what concerns the watched addresses", async () => {
    assert.deepEqual(await watch([OURS, ROUTER]), ["done"]);
    const reply = { head: "0001080006040002" };
    const head = (text: string) => frame(arp(OURS, OTHER, { head: text }));
    const ignored = [
      frame(arp(OTHER, OURS)),
      frame(arp(0, OTHER)),
      frame(arp(0, 0)),
      frame(arp(OURS, OTHER), { to: "0200000000bb" }),
      // Tagged with VLAN 1.
      frame(`00010806${arp(OURS, OTHER)}`, { type: "8100" }),
      frame(arp(OURS, OTHER), { type: "8035" }),
      head("0006080006040001"),
      head("000186dd06040001"),
      head("0001080008040001"),
      head("0001080006100001"),
      head("0001080006040000"),
      head("0001080006040003"),
      head("0001080006040008"),
      // One byte short, and cut behind the sender's address.
      `${ALL}0200000000aa0806${arp(OURS, OTHER).slice(0, 54)}`,
      `${ALL}0200000000aa0806${arp(OURS, OTHER).slice(0, 36)}`,
    ];
    const passed = [
      arp(OURS, OTHER),
      arp(OURS, OURS),
      arp(0, OURS),
      arp(0, ROUTER),
      arp(ROUTER, OURS, reply),
    ];
    await router.say(
      ...ignored,
      ...passed.map((packet) => frame(packet, packet === passed[4] ? { to: OUR_MAC } : {})),
      // Last, so that whatever was to come is there when this is.
      frame(arp(ROUTER, OTHER, { mark: 1 })),
    );
    const all = await packets(passed.length + 1);
    assert.deepEqual(all, [...passed, arp(ROUTER, OTHER, { mark: 1 })]);
  });

  test("names the link, and does not tell of what we sent ourselves", async () => {
    await until(async () => (await send(announcement(OURS))) === "done");
    await router.hear(1);
    await router.say(frame(arp(OURS, OURS)));
    await until(() => received.length > 0);
    const [first, ...others] = received.splice(0);
    assert.deepEqual(
      [first?.ifindex, first?.packet.toString("hex")],
      [wan1.ifindex, arp(OURS, OURS)],
    );
    assert.deepEqual(others, []);
  });

  test("a changed watch misses nothing and tells nothing twice; an empty one ends it", async () => {
    // Of a link of its own, since the limit of 50 a second is the link's.
    const station = await connectLink("wan3");
    const wan3 = await rig.link("wan3");
    assert.deepEqual(await watch([ROUTER], wan3), ["done"]);
    const said = Array.from({ length: 48 }, (_, at) => arp(ROUTER, OTHER, { mark: at + 1 }));
    let isOver = false;
    const changes = (async () => {
      for (let count = 0; !isOver; count += 1) {
        assert.deepEqual(await watch([ROUTER, OURS + (count % 5)], wan3), ["done"]);
      }
    })();
    for (let at = 0; at < said.length; at += 4) {
      await station.say(...said.slice(at, at + 4).map((packet) => frame(packet)));
    }
    isOver = true;
    await changes;
    assert.deepEqual(await packets(said.length), said);
    await until(async () => (await sockets()) === 2);

    assert.deepEqual(await watch([OTHER], wan3), ["done"]);
    await station.say(frame(arp(ROUTER, OTHER)), frame(arp(OTHER, OTHER)));
    assert.deepEqual(await packets(1), [arp(OTHER, OTHER)]);
    assert.deepEqual([await watch([], wan3), await watch([], wan3)], [["done"], ["done"]]);
    await until(async () => (await sockets()) === 1);
    await rig.ip("link", "del", "wan3");
  });

  test("a controller that changes its watches all the time costs no descriptor", async () => {
    const descriptors = () => readdirSync(`/proc/${rig.pid}/fd`).length;
    const usual = descriptors();
    // More than koffi would close at once, in every call.
    const watches = Array.from({ length: 256 }, (_, at) => ({
      link: wan1,
      addresses: [at % 2 === 0 ? ROUTER : OTHER],
    }));
    for (const _ of [1, 2]) {
      const done = outcomes(await verbs(client).watchArp(watches));
      assert.deepEqual(new Set(done), new Set(["done"]));
    }
    assert.deepEqual(await watch([OURS, ROUTER]), ["done"]);
    await until(() => descriptors() <= usual);
    assert.doesNotMatch(rig.log, /Call crashed/);
  });

  test("a watch that does not change keeps its socket", async () => {
    const inodes = async () => {
      const text = await must("ip", ["netns", "exec", rig.namespace, "cat", "/proc/net/packet"]);
      return text
        .split("\n")
        .flatMap((line) => (line.includes(" 0806 ") ? [line.split(/\s+/).at(-1)] : []));
    };
    const before = await inodes();
    assert.deepEqual(await watch([OURS, ROUTER]), ["done"]);
    assert.deepEqual(await inodes(), before);
  });

  test("sends 6 at once and 2 a second a link, and a new connection is no way round", async () => {
    const station = await connectLink("wan4");
    const wan4 = await rig.link("wan4");
    const start = performance.now();
    const doneOf = async () => {
      const messages = Array.from({ length: 20 }, () => ({ link: wan4, kind: probe(OTHER) }));
      return outcomes(await verbs(client).sendArp(messages)).filter((one) => one === "done").length;
    };
    const refused = async () => (await send(probe(OTHER), wan4)) === "not_permitted link";
    const first = await doneOf();
    await connect();
    const second = await doneOf();
    assert.ok(first >= 6, `${first}`);
    const most = 6 + (2 * (performance.now() - start)) / 1000;
    assert.ok(first + second <= most, `${first} and ${second} of ${most}`);
    await until(refused);
    // Another link's are its own.
    await until(async () => (await send(probe(OTHER))) === "done");
    await until(async () => (await send(probe(OTHER), wan4)) === "done");
    assert.ok((await station.hear(first + second + 1)).length >= first + second + 1);
    await rig.ip("link", "del", "wan4");
  });

  test("passes on 50 packets a second a link, at most", async () => {
    const station = await connectLink("wan5");
    const wan5 = await rig.link("wan5");
    const start = performance.now();
    assert.deepEqual(await watch([ROUTER], wan5), ["done"]);
    await station.say(...Array.from({ length: 150 }, () => frame(arp(ROUTER, OTHER))));
    await packets(50);
    // A change begins no new count: what comes to it is still too much.
    assert.deepEqual(await watch([ROUTER, OURS], wan5), ["done"]);
    await station.say(...Array.from({ length: 150 }, () => frame(arp(ROUTER, OTHER))));
    // Told in order, so that all of them are judged when this one is there.
    await until(async () => {
      await station.say(frame(arp(OURS, OURS)));
      return received.some(({ packet }) => packet.toString("hex") === arp(OURS, OURS));
    });
    const most = (50 * (performance.now() - start)) / 1000;
    assert.ok(received.length <= most + 1, `${received.length} of ${most} after the first 50`);
    assert.ok((received.at(-1)?.dropped ?? 0) > 0, "and how many were not is told with the next");
    received = [];
    await verbs(client).closePackets([wan5.ifindex]);
    assert.match(rig.log, /"kind":"arp","received":\d+,"dropped":[1-9]\d*,"lastDrop":"too many a/);
    await rig.ip("link", "del", "wan5");
  });

  test("there is one stream a connection, and another when it has ended", async () => {
    const second = client.receiveArp({});
    const error = await new Promise<ServiceError>((resolve) => second.once("error", resolve));
    assert.equal(error.code, status.ALREADY_EXISTS);
    // The stream of DHCP is another matter.
    const dhcp = client.receiveDhcp({});
    dhcp.on("error", () => {});
    await new Promise((resolve) => dhcp.once("metadata", resolve));
    stream.cancel();
    await until(async () => {
      const next = client.receiveArp({});
      const isOpen = await new Promise<boolean>((resolve) => {
        next.once("metadata", () => resolve(true));
        next.on("error", () => resolve(false));
      });
      next.on("data", (one: ReceiveArpResponse) => received.push(one));
      return isOpen;
    });
    assert.deepEqual(await watch([ROUTER]), ["done"]);
    await router.say(frame(arp(ROUTER, OURS)));
    assert.deepEqual(await packets(1), [arp(ROUTER, OURS)]);
  });

  test("a watch survives its link going down", async () => {
    await rig.ip("link", "set", "wan1", "down");
    assert.equal(await send(probe(OTHER)), "kernel_refused ENETDOWN");
    await rig.ip("link", "set", "wan1", "up");
    await until(async () => (await rig.ip("link", "show", "wan1")).includes("state UP"));
    await until(async () => {
      await router.say(frame(arp(ROUTER, OURS)));
      return received.length > 0;
    });
    received = [];
  });

  test("a watch does not survive its link, not even for the next of that ifindex", async () => {
    await rig.ip("link", "add", "tmp1", "type", "veth", "peer", "name", "tmp2");
    const gone = await rig.link("tmp1");
    assert.deepEqual(await watch([ROUTER], gone), ["done"]);
    await rig.ip("link", "del", "tmp1");
    assert.deepEqual(await watch([ROUTER], gone), ["link_mismatch ifindex"]);
    assert.equal(await send(probe(OTHER), gone), "link_mismatch ifindex");

    const index = `${gone.ifindex}`;
    const peer = ["type", "veth", "peer", "name", "far-tmp3", "netns", isp];
    await rig.ip("link", "add", "tmp3", "index", index, ...peer);
    await rig.ip("link", "set", "tmp3", "up");
    await must("ip", ["-n", isp, "link", "set", "far-tmp3", "arp", "off", "up"]);
    await until(async () => (await rig.ip("link", "show", "tmp3")).includes("state UP"));
    const [far] = JSON.parse(await must("ip", ["-n", isp, "-j", "link", "show", "far-tmp3"]));
    const script = new URL("arp-station.js", import.meta.url).pathname;
    const station = new Station(rig.spawn(isp, process.execPath, script, `${far.ifindex}`));
    await station.ready();
    const next = await rig.link("tmp3");
    assert.deepEqual(await watch([ROUTER], gone), ["link_mismatch name"]);

    // Nothing of the new link comes by the old watch; the control is that of wan1.
    await station.say(frame(arp(ROUTER, OTHER)));
    await router.say(frame(arp(ROUTER, OURS)));
    assert.deepEqual(await packets(1), [arp(ROUTER, OURS)]);
    assert.deepEqual(await watch([ROUTER], next), ["done"]);
    assert.match(rig.log, new RegExp(`Packet port closed","ifindex":${index},"kind":"arp"`));
    await station.say(frame(arp(ROUTER, OTHER)));
    await until(() => received.length > 0);
    assert.equal(received.splice(0)[0]?.ifindex, gone.ifindex);
  });

  test("ClosePackets ends the watch too, and so does the end of the connection", async () => {
    assert.equal(await sockets(), 2);
    await verbs(client).closePackets([wan1.ifindex, 999]);
    await until(async () => (await sockets()) === 1);
    assert.deepEqual(await watch([ROUTER]), ["done"]);
    assert.equal(await sockets(), 2);
    client = await rig.readyClient();
    await until(async () => (await sockets()) === 0);
    assert.equal(rig.isRunning, true);
  });
});
