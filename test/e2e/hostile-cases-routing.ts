/** What the contract forbids of addresses, routes and rules; see hostile-cases.ts. */
import { ip4, prefix4 } from "./helper-rig.js";
import { type Arena, addressFields } from "./hostile-arena.js";
import { type Case, validCalls } from "./hostile-valid.js";
import type { Message } from "./hostile-wire.js";

export function addressCases(arena: Arena): readonly Case[] {
  const { deleteAddress } = validCalls(arena);
  const put = putting(arena);
  const foreign = { ...addressFields("10.1.0.102/24"), link: arena.link("wan1").ref };
  return [
    put("not of 0/8", addressFields("0.0.0.5/24"), "not_permitted address"),
    put("not of 127/8", addressFields("127.0.0.5/24"), "not_permitted address"),
    put("not of 224/4", addressFields("224.0.0.5/24"), "not_permitted address"),
    put("not of 240/4", addressFields("240.0.0.5/24"), "not_permitted address"),
    put("not the network's address", addressFields("10.0.9.0/24"), "malformed address"),
    put("not the broadcast address", addressFields("10.0.9.255/24"), "malformed address"),
    put("not the last of a /30", addressFields("10.0.9.7/30"), "malformed address"),
    put("a length of 1 at least", addressFields("10.0.9.7/0"), "malformed prefix_length"),
    put("a length of 32 at most", addressFields("10.0.9.7/33"), "malformed prefix_length"),
    put("not what another link holds", addressFields("192.168.1.1/32"), "not_permitted address"),
    put("not what one covers", addressFields("172.17.3.4/32"), "not_permitted address"),
    put("not even if it is down", addressFields("192.168.7.9/32"), "not_permitted address"),
    put(
      "no prefix that ends within its",
      addressFields("192.168.0.5/22"),
      "not_permitted prefix_length",
    ),
    put("a lifetime of 1 at least", { validSec: 0 }, "malformed valid_sec"),
    put("one of another program is not replaced", foreign, "foreign"),
    ["DeleteAddress: only what carries 77", "deleteAddress", foreign, "foreign"],
    [
      "DeleteAddress: a length of 1 to 32",
      "deleteAddress",
      { ...deleteAddress, prefixLength: 33 },
      "malformed prefix_length",
    ],
  ];
}

export function peerCases(arena: Arena): readonly Case[] {
  const put = putting(arena);
  const link = arena.link("tun0").ref;
  const point = { ...addressFields("10.8.0.5/24"), link, peer: ip4("10.8.0.6") };
  const narrow = { ...addressFields("10.0.9.6/31"), broadcast: ip4("10.0.9.7") };
  const broadcast = ip4("10.8.0.255");
  return [
    put("broadcast: the prefix's own", { broadcast: ip4("8.8.8.8") }, "malformed broadcast"),
    put("broadcast: none of a /31", narrow, "malformed broadcast"),
    put("broadcast: none with a peer", { ...point, broadcast }, "malformed broadcast"),
    put("peer on point-to-point links only", { peer: ip4("10.0.0.6") }, "not_permitted peer"),
    put("a peer that is unicast", { ...point, peer: ip4("224.0.0.6") }, "not_permitted peer"),
    put(
      "no peer's prefix that ends within another link's",
      { ...point, prefixLength: 30, peer: ip4("192.168.1.6") },
      "not_permitted prefix_length",
    ),
  ];
}

function putting(arena: Arena) {
  const { broadcast, ...plain } = validCalls(arena).putAddress;
  return (sentence: string, change: Message, want: string): Case => [
    `PutAddress: ${sentence}`,
    "putAddress",
    { ...plain, ...change },
    want,
  ];
}

export function routeCases(arena: Arena): readonly Case[] {
  const { putRoute, deleteRoute } = validCalls(arena);
  const { gateway, preferredSource, onlink, mtu, ...plain } = putRoute;
  // What a delete names is checked as for a put.
  const both = (sentence: string, change: Message, want: string): readonly Case[] => [
    [`PutRoute: ${sentence}`, "putRoute", { ...putRoute, ...change }, want],
    [`DeleteRoute: ${sentence}`, "deleteRoute", { ...deleteRoute, ...change }, want],
  ];
  const put = (sentence: string, change: Message, want: string): Case => [
    `PutRoute: ${sentence}`,
    "putRoute",
    { ...plain, ...change },
    want,
  ];
  return [
    ...both("a table of the range, not below", { table: 7700 }, "not_permitted table"),
    ...both("a table of the range, not above", { table: 7800 }, "not_permitted table"),
    ...both("not table local", { table: 255 }, "not_permitted table"),
    ...both("a type of the contract", { type: 5 }, "malformed type"),
    ...both(
      "no host bits",
      { destination: { network: ip4("203.0.113.1"), length: 24 } },
      "malformed destination",
    ),
    ...both("a destination", { destination: undefined }, "malformed destination"),
    ...both(
      "a length of 32 at most",
      { destination: { network: 0, length: 33 } },
      "malformed destination",
    ),
    ...both("not to 127/8", { destination: prefix4("127.0.0.0/8") }, "not_permitted destination"),
    ...both("not to 224/4", { destination: prefix4("224.0.0.0/24") }, "not_permitted destination"),
    ...both("not to 240/4", { destination: prefix4("240.0.0.0/5") }, "not_permitted destination"),
    ...both("a gateway that is unicast", { gateway: ip4("224.0.0.1") }, "not_permitted gateway"),
    ...both("a gateway that is not own", { gateway: ip4("10.0.0.5") }, "not_permitted gateway"),
    put("blackhole without a gateway", { type: 3, gateway }, "malformed gateway"),
    put("throw without a source", { type: 4, preferredSource }, "malformed type"),
    put("unreachable without an MTU", { type: 2, mtu }, "malformed type"),
    put(
      "a source of that link",
      { preferredSource: ip4("10.1.0.102") },
      "not_permitted preferred_source",
    ),
    put("onlink with a gateway", { onlink }, "malformed gateway"),
    put("an MTU of 576 at least", { mtu: 575 }, "malformed mtu"),
    put("an MTU of 9216 at most", { mtu: 9217 }, "malformed mtu"),
    put("one of another program is not replaced", { table: 7702, metric: 5 }, "foreign"),
    put("nor one to a network", { destination: prefix4("203.0.113.0/24"), metric: 9 }, "foreign"),
  ];
}

export function mainCases(arena: Arena): readonly Case[] {
  const { putRoute, deleteRoute } = validCalls(arena);
  const main = { table: 254, metric: 1001 };
  const both = (sentence: string, change: Message, want: string): readonly Case[] => [
    [`PutRoute in main: ${sentence}`, "putRoute", { ...putRoute, ...main, ...change }, want],
    [
      `DeleteRoute in main: ${sentence}`,
      "deleteRoute",
      { ...deleteRoute, ...main, ...change },
      want,
    ],
  ];
  const { gateway, preferredSource, onlink, mtu, ...plain } = putRoute;
  return [
    ...both(
      "to 0.0.0.0/0 only",
      { destination: prefix4("203.0.113.0/24") },
      "not_permitted destination",
    ),
    ...both(
      "unicast only",
      { type: 2, gateway: undefined, preferredSource: undefined, mtu: undefined, onlink: 0 },
      "not_permitted type",
    ),
    ...both("a metric of the window, not below", { metric: 999 }, "not_permitted metric"),
    ...both("a metric of the window, not above", { metric: 2000 }, "not_permitted metric"),
    ...both("not the default without a metric", { metric: 0 }, "not_permitted metric"),
    [
      "PutRoute in main: another program's default stays",
      "putRoute",
      { ...plain, ...main, metric: 1500 },
      "foreign",
    ],
  ];
}

/** The shape of a rule, which is checked for a delete too. */
export function ruleCases(arena: Arena): readonly Case[] {
  const link = arena.link("wan0").ref;
  const from = ip4("10.0.0.5");
  const to = prefix4("10.0.0.0/24");
  const host = { ...to, length: 4 };
  const table = 7701;
  const device = "wan0";
  const shapes: readonly [string, Message, string][] = [
    ["a kind of the contract", { kind: 10, table }, "malformed kind"],
    ["a kind at all", { table }, "malformed kind"],
    ["a table of the range", { kind: 4, from, table: 254 }, "not_permitted table"],
    ["not table local", { kind: 1, device, table: 255 }, "not_permitted table"],
    ["9500 with its own table only", { kind: 3, table }, "malformed table"],
    ["10500 without a table", { kind: 5, from, table }, "malformed table"],
    ["not of everything", { kind: 4, table }, "malformed from"],
    ["9000 without other selectors", { kind: 1, device, table, from }, "malformed from"],
    ["10000 without other selectors", { kind: 4, device, table, from }, "malformed device"],
    ["a name that a link can have", { kind: 1, device: "a/b", table }, "malformed device"],
    ["from a unicast address", { kind: 4, from: 0, table }, "not_permitted from"],
    ["without host bits", { kind: 6, to: host, table, metric: 1 }, "malformed to"],
    ["not to /0", { kind: 6, to: prefix4("0.0.0.0/0"), table, metric: 1 }, "not_permitted to"],
    ["a metric of 1 at least", { kind: 6, to, table, metric: 0 }, "malformed metric"],
    ["a metric of 9999 at most", { kind: 6, to, table, metric: 10_000 }, "not_permitted metric"],
    ["9600 at least", { kind: 7, uid: 1000, table, priority: 9599 }, "not_permitted priority"],
    ["9899 at most", { kind: 8, fwmark: 0x77, table, priority: 9900 }, "not_permitted priority"],
    ["no mark of 0", { kind: 8, fwmark: 0, table, priority: 9600 }, "malformed fwmark"],
  ];
  return [
    ["PutRule: there must be one", "putRule", { link }, "malformed rule"],
    ["DeleteRule: there must be one", "deleteRule", {}, "malformed rule"],
    ["PutRule: 9500 is for no link", "putRule", { link, rule: { kind: 3 } }, "malformed link"],
    ...shapes.flatMap(([sentence, rule, want]): readonly Case[] => [
      [`PutRule: ${sentence}`, "putRule", { link, rule }, want],
      [`DeleteRule: ${sentence}`, "deleteRule", { rule }, want],
    ]),
  ];
}

/** What a rule of wan0 may select. */
export function selectorCases(arena: Arena): readonly Case[] {
  const link = arena.link("wan0").ref;
  const other = ip4("10.1.0.102");
  const to = prefix4("10.0.0.0/24");
  const table = 7701;
  const rules: readonly [string, Message, string][] = [
    ["oif: the named link", { kind: 1, device: "wan1", table }, "not_permitted device"],
    ["from: an address of the link", { kind: 4, from: other, table }, "not_permitted from"],
    ["from one, to its prefix", { kind: 2, from: other, to, table }, "not_permitted from"],
    [
      "to: a prefix of the link",
      { kind: 6, to: prefix4("10.1.0.0/24"), table, metric: 1 },
      "not_permitted to",
    ],
    ["10500: not what another holds", { kind: 5, from: ip4("192.168.1.1") }, "not_permitted from"],
    ["10500: not what one covers", { kind: 5, from: ip4("172.17.0.9") }, "not_permitted from"],
    ["a listed user", { kind: 7, uid: 0, table, priority: 9600 }, "not_permitted uid"],
    ["a listed mark", { kind: 8, fwmark: 1, table, priority: 9600 }, "not_permitted fwmark"],
    ["a listed iif", { kind: 9, device: "wan0", table, priority: 9600 }, "not_permitted device"],
  ];
  return rules.map(([sentence, rule, want]) => [
    `PutRule: ${sentence}`,
    "putRule",
    { link, rule },
    want,
  ]);
}
