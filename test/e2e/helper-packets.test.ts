import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { ClientReadableStream } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { DhcpMessage, HelperClient, LinkRef, ReceiveDhcpResponse } from "@mnm/proto/helper";
import { RuleKind } from "@mnm/proto/helper";
import { encodeUdpPacket, ipv4FromUint32 } from "@mnm/proto/net";
import { must, run } from "../lab/run.js";
import { putRule, rule } from "./helper-changes.js";
import { apply, HelperRig, ip4, outcomeOf, sleep, until, verbs } from "./helper-rig.js";

/** A BOOTP message: op, and bytes over it at their offsets. RFC 2131 §2. */
function message(op: number, mac: Uint8Array, ...changes: readonly [number, readonly number[]][]) {
  const bytes = Buffer.alloc(300);
  bytes.set([op, 1, 6, 0, 0x12, 0x34, 0x56, 0x78]);
  bytes.set(mac, 28);
  // The magic cookie, option 53 (DHCPDISCOVER), end.
  bytes.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255], 236);
  for (const [at, change] of changes) bytes.set(change, at);
  return bytes;
}

describe("DHCP packets", () => {
  const rig = new HelperRig();
  const isp = `${rig.namespace}-isp`;
  let client: HelperClient;
  let wan1: LinkRef;
  let ispMac: Buffer;
  let ispIfindex: number;
  let stream: ClientReadableStream<ReceiveDhcpResponse>;
  let received: ReceiveDhcpResponse[] = [];

  before(async () => {
    await rig.start("--peer-uid", "0");
    await rig.addNamespace(isp);
    await rig.ip("link", "add", "wan1", "type", "veth", "peer", "name", "isp1", "netns", isp);
    await rig.ip("link", "set", "wan1", "up");
    await must("ip", ["-n", isp, "addr", "add", "192.0.2.1/24", "dev", "isp1"]);
    await must("ip", ["-n", isp, "link", "set", "isp1", "up"]);
    const [far] = JSON.parse(await must("ip", ["-n", isp, "-j", "link", "show", "isp1"]));
    ispMac = Buffer.from(far.address.replaceAll(":", ""), "hex");
    ispIfindex = far.ifindex;
    wan1 = await rig.link("wan1");
    await connect();
    const dnsmasq = rig.spawn(
      isp,
      ...["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping"],
      ...["--dhcp-authoritative", "--dhcp-range=192.0.2.100,192.0.2.200", "--log-facility=-"],
      ...["--interface=isp1", `--dhcp-leasefile=${rig.directory}/leases`, "--pid-file="],
      ...["--user=root"],
    );
    let log = "";
    dnsmasq.stderr?.on("data", (text) => {
      log += text;
    });
    await until(() => log.includes("DHCP, IP range"));
  });
  after(() => rig.close());

  /** A new connection, with its stream and its port. */
  async function connect(): Promise<void> {
    client = await rig.readyClient();
    stream = client.receiveDhcp({});
    stream.on("data", (one: ReceiveDhcpResponse) => received.push(one));
    stream.on("error", () => {});
    await new Promise((resolve) => stream.once("metadata", resolve));
    const { results } = await verbs(client).openPackets([wan1, wan1]);
    assert.deepEqual(results.map(outcomeOf), ["done", "done"]);
  }

  const send = async (...messages: readonly Partial<DhcpMessage>[]) => {
    const full = messages.map((one) => ({ link: wan1, payload: message(1, wan1.mac), ...one }));
    return (await verbs(client).sendDhcp(full)).results.map(outcomeOf);
  };

  const replies = async (count: number) => {
    await until(() => received.length >= count);
    const taken = received;
    received = [];
    return taken;
  };

  test("DISCOVER is broadcast, and the server's OFFER comes back, well below 10 ms", async () => {
    const start = performance.now();
    const first = new Promise((resolve) => stream.once("data", resolve));
    assert.deepEqual(await send({}), ["done"]);
    await first;
    const tookMs = performance.now() - start;
    const [offer] = await replies(1);
    assert.equal(offer?.ifindex, wan1.ifindex);
    assert.equal(offer?.source, ip4("192.0.2.1"));
    // BOOTREPLY with our xid, and option 53 saying DHCPOFFER.
    assert.deepEqual(
      [...(offer?.payload.subarray(0, 8) ?? [])],
      [2, 1, 6, 0, 0x12, 0x34, 0x56, 0x78],
    );
    assert.deepEqual([...(offer?.payload.subarray(240, 243) ?? [])], [53, 1, 2]);
    assert.ok(tookMs < 250, `${tookMs} ms`);
  });

  test("unicast goes from an own address, over the kernel's routes, and is answered", async () => {
    const address = ip4("192.0.2.100");
    const ours = [...Buffer.from("c0000264", "hex")];
    const request = message(1, wan1.mac, [12, ours], [240, [53, 1, 3, 255]]);
    const unicast = { payload: request, server: ip4("192.0.2.1"), source: address };
    assert.deepEqual(await send(unicast), ["not_permitted ciaddr"]);
    const value = { link: wan1, address, prefixLength: 24, validSec: 60 };
    const route = { table: 7701, type: 1 as const, metric: 0, onlink: false, link: wan1 };
    const destination = { network: ip4("192.0.2.0"), length: 24 };
    await apply(
      client,
      { $case: "putAddress", value },
      { $case: "putRoute", value: { ...route, destination } },
      putRule(wan1, rule(RuleKind.DEVICE, { device: "wan1", table: 7701 })),
    );
    assert.deepEqual(await send(unicast), ["done"]);
    const [ack] = await replies(1);
    // DHCPACK to the address that we asked to keep.
    assert.deepEqual([...(ack?.payload.subarray(240, 243) ?? [])], [53, 1, 5]);
    assert.deepEqual([...(ack?.payload.subarray(16, 20) ?? [])], ours);
    await apply(client, { $case: "deleteAddress", value });
  });

  test("refuses what is not a client's message from this link", async () => {
    const { mac } = wan1;
    const payloads = [
      message(2, mac),
      message(1, mac, [1, [6]]),
      message(1, mac, [2, [16]]),
      message(1, mac, [3, [1]]),
      message(1, mac, [24, [192, 0, 2, 9]]),
      message(1, mac, [28, [2, 0, 0, 0, 0, 9]]),
      message(1, mac, [40, [1]]),
      message(1, mac, [236, [0]]),
      message(1, mac).subarray(0, 239),
      Buffer.concat([message(1, mac), Buffer.alloc(1173)]),
      Buffer.alloc(0),
    ];
    const refused = await send(...payloads.map((payload) => ({ payload })));
    assert.deepEqual(
      refused,
      payloads.map(() => "malformed payload"),
    );
    assert.deepEqual(await send({ source: ip4("192.0.2.100") }), ["malformed source"]);
    const server = ip4("192.0.2.1");
    assert.deepEqual(await send({ server }), ["not_permitted source"]);
    const lo = { ifindex: 1, name: "lo", mac: Buffer.alloc(6) };
    assert.deepEqual(await send({ link: lo }), ["not_permitted link"]);
  });

  test("of the frames that are sent, takes only DHCP replies to us", async () => {
    await sleep(100);
    received = [];
    const reply = message(2, wan1.mac);
    const ends = {
      ...{ source: ipv4FromUint32(ip4("192.0.2.1")), sourcePort: 67 },
      ...{ destination: ipv4FromUint32(0xffff_ffff), destinationPort: 68 },
    };
    const ethernet = (to: Uint8Array, type: string, packet: Uint8Array) =>
      Buffer.concat([to, ispMac, Buffer.from(type, "hex"), packet]).toString("hex");
    const good = encodeUdpPacket(ends, reply);
    const changed = (at: number, ...bytes: number[]) => {
      const copy = Buffer.from(good);
      copy.set(bytes, at);
      return copy;
    };
    const other = Uint8Array.of(2, 0, 0, 0, 0, 0x99);
    const all = new Uint8Array(6).fill(0xff);
    const bad = [
      ethernet(other, "0800", good),
      ethernet(all, "810000050800", good),
      ethernet(all, "0800", encodeUdpPacket(ends, message(1, wan1.mac))),
      ethernet(all, "0800", encodeUdpPacket(ends, message(2, wan1.mac, [236, [0]]))),
      ethernet(all, "0800", encodeUdpPacket({ ...ends, destinationPort: 67 }, reply)),
      // More fragments; an offset; TCP; a wrong IP checksum; a wrong UDP checksum; IPv6.
      ethernet(all, "0800", withIpChecksum(changed(6, 0x20))),
      ethernet(all, "0800", withIpChecksum(changed(7, 0x02))),
      ethernet(all, "0800", withIpChecksum(changed(9, 6))),
      ethernet(all, "0800", changed(8, 63)),
      ethernet(all, "0800", changed(100, 0xee)),
      ethernet(all, "0800", withIpChecksum(changed(0, 0x65))),
      ethernet(all, "0800", good.subarray(0, 200)),
    ];
    const frames = [...bad, ethernet(wan1.mac, "0800", good), ethernet(all, "0800", good)];
    const script = new URL("send-frames.js", import.meta.url).pathname;
    const args = ["netns", "exec", isp, process.execPath, script, `${ispIfindex}`, ...frames];
    assert.equal((await run("ip", args)).code, 0);
    const told = await replies(4);
    await sleep(100);
    const words = [...told, ...received].map(({ payload, source, problem }) => [
      problem === "" ? payload.equals(reply) : payload.length + source,
      problem,
    ]);
    // In the order of sending; that there were such packets is told, and nothing that was in them.
    assert.deepEqual(words, [
      [0, "ip-checksum"],
      [0, "udp-checksum"],
      [true, ""],
      [true, ""],
    ]);
  });

  const folder = new URL("../../../../shared/corpora/adversarial/", import.meta.url);
  const skip = existsSync(folder) ? false : `NOT RUN: there is no corpus at ${folder.pathname}`;
  test("of the corpus, no frame comes through that must not", { skip }, async () => {
    const verdicts: { file: string; layer: string; verdict: string }[] = JSON.parse(
      readFileSync(new URL("verdicts.json", folder), "utf8"),
    ).cases;
    const hex = ({ file }: { file: string }) => readFileSync(new URL(file, folder)).toString("hex");
    const frames = verdicts.filter(({ layer }) => layer === "frame");
    const never = frames.filter(({ verdict }) => verdict === "never");
    assert.equal(never.length, 8);
    const control = frames.filter(({ file }) => file === "160-frame-control.bin");

    await rig.ip("link", "add", "adv1", "type", "veth", "peer", "name", "adv2", "netns", isp);
    await rig.ip("link", "set", "adv1", "address", "02:00:00:00:00:01", "up");
    await must("ip", ["-n", isp, "link", "set", "adv2", "up"]);
    await until(async () => (await rig.ip("link", "show", "adv1")).includes("state UP"));
    const adv1 = await rig.link("adv1");
    assert.deepEqual((await verbs(client).openPackets([adv1])).results.map(outcomeOf), ["done"]);
    await sleep(100);
    received = [];
    const far = JSON.parse(await must("ip", ["-n", isp, "-j", "link", "show", "adv2"]));
    const script = new URL("send-frames.js", import.meta.url).pathname;
    const sent = [...never, ...control].map(hex);
    const args = ["netns", "exec", isp, process.execPath, script, `${far[0].ifindex}`, ...sent];
    assert.equal((await run("ip", args)).code, 0);
    await until(() => received.some(({ payload }) => payload.length > 0));
    await sleep(100);
    const whole = received.filter(({ payload }) => payload.length > 0);
    assert.equal(whole.length, 1, "the control, which came last, and nothing else");
    received = [];
    await rig.ip("link", "del", "adv1");
  });

  test("sends 10 messages at once and 5 a second, and a new connection is no way round", async () => {
    await sleep(2100);
    const messages = Array.from({ length: 12 }, () => ({}));
    const outcomes = await send(...messages);
    assert.deepEqual(outcomes.slice(0, 10), Array(10).fill("done"));
    assert.deepEqual(outcomes.slice(10), ["not_permitted link", "not_permitted link"]);
    await connect();
    assert.deepEqual(await send({}), ["not_permitted link"]);
    await sleep(250);
    assert.deepEqual(await send({}), ["done"]);
  });

  test("passes on 50 replies a second at most", async () => {
    await sleep(1100);
    received = [];
    const source = ipv4FromUint32(ip4("192.0.2.1"));
    const destination = ipv4FromUint32(0xffff_ffff);
    const ends = { source, sourcePort: 67, destination, destinationPort: 68 };
    const packet = encodeUdpPacket(ends, message(2, wan1.mac));
    const frame = Buffer.concat([
      Buffer.alloc(6, 0xff),
      ispMac,
      Buffer.from("0800", "hex"),
      packet,
    ]);
    const script = new URL("send-frames.js", import.meta.url).pathname;
    const frames = Array(120).fill(frame.toString("hex"));
    const args = ["netns", "exec", isp, process.execPath, script, `${ispIfindex}`, ...frames];
    assert.equal((await run("ip", args)).code, 0);
    await sleep(200);
    assert.ok(received.length >= 40 && received.length <= 65, `${received.length} came through`);
    // The next one tells how many did not.
    const came = received.length;
    const before = received[0]?.dropped ?? 0;
    received = [];
    await sleep(100);
    assert.equal((await run("ip", [...args.slice(0, 6), frames[0] ?? ""])).code, 0);
    const [next] = await replies(1);
    assert.equal((next?.dropped ?? 0) - before, 120 - came);
  });

  test("there is one stream a connection", async () => {
    const second = client.receiveDhcp({});
    const error = await new Promise<{ code?: number }>((resolve) => second.on("error", resolve));
    assert.equal(error.code, status.ALREADY_EXISTS);
  });

  test("a port survives its link going down, and not the link itself", async () => {
    await sleep(1100);
    await rig.ip("link", "set", "wan1", "down");
    await rig.ip("link", "set", "wan1", "up");
    // The kernel lets packets through some time after the carrier is back.
    await until(async () => (await rig.ip("link", "show", "wan1")).includes("state UP"));
    await sleep(50);
    received = [];
    assert.deepEqual(await send({}), ["done"]);
    await replies(1);

    await rig.ip("link", "add", "tmp1", "type", "veth", "peer", "name", "tmp2");
    const gone = await rig.link("tmp1");
    assert.deepEqual((await verbs(client).openPackets([gone])).results.map(outcomeOf), ["done"]);
    await rig.ip("link", "del", "tmp1");
    const index = `${gone.ifindex}`;
    await rig.ip("link", "add", "tmp3", "index", index, "type", "veth", "peer", "name", "tmp4");
    await rig.ip("link", "set", "tmp3", "up");
    await rig.ip("link", "set", "tmp4", "up");
    const next = await rig.link("tmp3");
    assert.deepEqual((await verbs(client).openPackets([next])).results.map(outcomeOf), ["done"]);
    assert.match(rig.log, new RegExp(`Packet port closed","ifindex":${index}`));
    received = [];
    const destination = ipv4FromUint32(0xffff_ffff);
    const ends = { source: destination, sourcePort: 67, destination, destinationPort: 68 };
    const packet = encodeUdpPacket(ends, message(2, next.mac));
    const head = Buffer.from("ffffffffffff0200000000010800", "hex");
    const script = new URL("send-frames.js", import.meta.url).pathname;
    const far = await rig.link("tmp4");
    const frame = Buffer.concat([head, packet]).toString("hex");
    const node = [process.execPath, script, `${far.ifindex}`, frame];
    assert.equal((await run("ip", ["netns", "exec", rig.namespace, ...node])).code, 0);
    assert.equal((await replies(1))[0]?.ifindex, gone.ifindex);
  });

  test("closed ports are silent, and close with their connection", async () => {
    await verbs(client).closePackets([wan1.ifindex, 999]);
    assert.deepEqual(await send({}), ["not_permitted link"]);
    const argv = ["netns", "exec", rig.namespace, "cat", "/proc/net/packet"];
    // Those that receive IPv4; the one that sends has no protocol, and stays.
    const ports = async () =>
      (await must("ip", argv)).match(/^\S+ +\d+ +\d+ +0800 /gm)?.length ?? 0;
    await verbs(client).openPackets([wan1]);
    assert.ok((await ports()) > 0);
    client = await rig.readyClient();
    await until(async () => (await ports()) === 0);
    assert.equal(rig.isRunning, true);
  });
});

/** The packet with its IP checksum made right again, so that only the other fault is left. */
function withIpChecksum(packet: Buffer): Buffer {
  packet.writeUInt16BE(0, 10);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += packet.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  packet.writeUInt16BE(~sum & 0xffff, 10);
  return packet;
}
