/** What the contract forbids of the verbs that send packets; see hostile-cases.ts. */

import { ip4 } from "./helper-rig.js";
import type { Arena } from "./hostile-arena.js";
import { type Case, discover, validCalls } from "./hostile-valid.js";
import type { Message } from "./hostile-wire.js";

export function dhcpCases(arena: Arena): readonly Case[] {
  const { SendDhcp } = validCalls(arena);
  const own = [...Buffer.from([10, 0, 0, 5])];
  const send = (sentence: string, change: Message, want: string): Case => [
    `SendDhcp: ${sentence}`,
    "SendDhcp",
    { ...SendDhcp, ...change },
    want,
  ];
  const body = (sentence: string, at: number, bytes: readonly number[]): Case =>
    send(sentence, { payload: discover(arena, [at, bytes]) }, "malformed payload");
  const server = ip4("10.0.0.250");
  const unicast = { server, source: ip4("10.0.0.5"), payload: discover(arena, [12, own]) };
  return [
    body("a BOOTREQUEST", 0, [2]),
    body("the link's htype", 1, [6]),
    body("the link's hlen", 2, [16]),
    body("hops 0", 3, [1]),
    body("giaddr 0", 24, [10, 0, 0, 1]),
    body("its own chaddr", 28, [2, 0, 0, 0, 1, 1]),
    body("nothing behind the chaddr", 34, [1]),
    body("the magic cookie", 236, [0]),
    send("240 bytes at least", { payload: discover(arena).subarray(0, 239) }, "malformed payload"),
    send(
      "1472 bytes at most",
      { payload: Buffer.concat([discover(arena), Buffer.alloc(1173)]) },
      "malformed payload",
    ),
    send(
      "ciaddr 0 or own",
      { payload: discover(arena, [12, [10, 0, 0, 6]]) },
      "not_permitted ciaddr",
    ),
    send("broadcast without a source", { source: ip4("10.0.0.5") }, "malformed source"),
    send("unicast with a ciaddr", { ...unicast, payload: discover(arena) }, "not_permitted source"),
    send("unicast from ciaddr", { ...unicast, source: ip4("10.0.0.101") }, "not_permitted source"),
    send(
      "unicast to a unicast address",
      { ...unicast, server: ip4("224.0.0.1") },
      "not_permitted server",
    ),
    send(
      "not to the limited broadcast",
      { ...unicast, server: 0xffff_ffff },
      "not_permitted server",
    ),
    [
      "SendDhcp: by a link whose port is open",
      "SendDhcp",
      { link: arena.link("wan1").ref, payload: discover(arena, [28, [...arena.link("wan1").mac]]) },
      "not_permitted link",
    ],
  ];
}

export function arpCases(arena: Arena): readonly Case[] {
  const { WatchArp, SendArp } = validCalls(arena);
  const link = arena.link("wan0").ref;
  const tun = arena.link("tun0").ref;
  const ask = { ...Object(SendArp["request"]) };
  const five = Array.from({ length: 5 }, (_, at) => ip4("10.0.0.250") + at);
  const send = (sentence: string, change: Message, want: string): Case => [
    `SendArp: ${sentence}`,
    "SendArp",
    { link, ...change },
    want,
  ];
  const request = (sentence: string, change: Message, want: string): Case =>
    send(sentence, { request: { ...ask, ...change } }, want);
  return [
    ["WatchArp: an Ethernet link", "WatchArp", { ...WatchArp, link: tun }, "not_permitted link"],
    [
      "WatchArp: at most 4 addresses",
      "WatchArp",
      { ...WatchArp, addresses: five },
      "not_permitted addresses",
    ],
    [
      "WatchArp: each unicast",
      "WatchArp",
      { ...WatchArp, addresses: [0xffff_ffff] },
      "not_permitted addresses",
    ],
    send("a kind of the contract", {}, "malformed kind"),
    send(
      "an Ethernet link",
      { link: tun, probe: { target: ip4("10.8.0.1") } },
      "not_permitted link",
    ),
    send("a probe for a unicast address", { probe: { target: 0 } }, "not_permitted target"),
    send(
      "announcement of an own address",
      { announcement: { address: ip4("10.0.0.6") } },
      "not_permitted address",
    ),
    request("a request from an own address", { sender: ip4("10.0.0.6") }, "not_permitted sender"),
    request(
      "a request for a gateway of ours",
      { gateway: ip4("10.0.0.251") },
      "not_permitted gateway",
    ),
    request(
      "not for one of another program",
      { gateway: ip4("192.0.2.9") },
      "not_permitted gateway",
    ),
    request(
      "to no group of stations",
      { gatewayMac: Buffer.from("010000000009", "hex") },
      "malformed gateway_mac",
    ),
    request(
      "to a station of six bytes",
      { gatewayMac: Buffer.alloc(5, 2) },
      "malformed gateway_mac",
    ),
  ];
}
