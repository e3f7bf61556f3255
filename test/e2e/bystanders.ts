/** What other programs have put into a host that MNM manages, as near to what is ours as Linux lets them. */
import type { Namespace } from "../lab/index.js";

/** A link of another program, and the peer that gives it carrier. */
export const FOREIGN_LINK = [
  "link add f0 type veth peer name f1",
  "link set f1 up",
  "link set f0 up",
  "addr add 192.0.2.1/24 dev f0",
];

/** Who else marks routes: boot, static, zebra, bird, bgp, and somebody with our neighbour's number. */
const PROTOCOLS = ["boot", "static", "zebra", "bird", "bgp", "76"];

/** 1,000 lines for `ip -b`: 400 routes, 300 rules, 300 addresses; more to set them up. */
export function bystanders(): readonly string[] {
  return [...FOREIGN_LINK, ...addresses(), ...nexthops(), ...routes(), ...rules()];
}

/** In our prefixes and beside them, on our links and on others. */
function addresses(): readonly string[] {
  return many(300, (index) => {
    const uplink = index % 3;
    const octet = 101 + Math.floor(index / 6) * 3 + uplink;
    switch (Math.floor(index / 3) % 4) {
      case 0:
        return `addr add 10.${uplink}.0.${octet}/24 brd + dev wan${uplink}`;
      case 1:
        return `addr add 10.${uplink}.0.${octet}/32 dev wan${uplink} scope link`;
      case 2:
        return `addr add 172.20.${index >> 8}.${index & 255}/30 dev wan${uplink} label wan${uplink}:x`;
      default:
        return `addr add 172.21.${index >> 8}.${index & 255}/32 dev f0 valid_lft 90000 preferred_lft 80000`;
    }
  });
}

function nexthops(): readonly string[] {
  return many(20, (index) => `nexthop add id ${7701 + index} via 192.0.2.${2 + index} dev f0`);
}

function routes(): readonly string[] {
  return [
    ...many(100, (index) => `route add 203.0.${index}.0/24 via 192.0.2.2 ${protocol(index)}`),
    // Defaults beside ours: other metrics, our metrics with another type of service.
    ...many(
      40,
      (index) => `route add default via 192.0.2.3 metric ${20_000 + index} ${protocol(index)}`,
    ),
    ...many(4, (index) => `route add default via 192.0.2.4 metric ${1_000 + index} tos 0x10`),
    ...many(16, (index) => `route add default via 192.0.2.5 metric ${31_000 + index}`),
    // Our prefixes.
    ...many(
      60,
      (index) => `route add 10.${index % 3}.0.0/24 dev wan${index % 3} metric ${1_000 + index}`,
    ),
    ...many(
      20,
      (index) => `route add 10.${index % 3}.0.0/${25 + (index % 4)} dev f0 metric ${index}`,
    ),
    // Our tables.
    ...many(
      80,
      (index) => `route add default via 192.0.2.6 table ${7701 + (index % 4)} metric ${1 + index}`,
    ),
    ...many(20, (index) => `route add unreachable 198.51.100.${index} table ${7701 + (index % 4)}`),
    ...many(20, (index) => `route add 198.18.${index}.0/24 nhid ${7701 + index}`),
    ...many(10, (index) => `route add blackhole 198.19.${index}.0/24 metric ${index}`),
    ...many(
      10,
      (index) => `route add 198.19.${100 + index}.0/24 nexthop via 192.0.2.7 nexthop via 192.0.2.8`,
    ),
    ...many(
      20,
      (index) => `route add default via 192.0.2.9 table ${900 + index} ${protocol(index)}`,
    ),
  ];
}

/** At our priorities, with what is ours in them. */
function rules(): readonly string[] {
  const address = (index: number) => `10.${index % 3}.0.100`;
  const table = (index: number) => `lookup ${7701 + (index % 3)}`;
  return [
    ...many(50, (index) => `rule add pref 9000 oif f0 from 198.51.100.${index} lookup 900`),
    ...many(
      50,
      (index) => `rule add pref 9000 oif wan${index % 3} fwmark ${1 + index} ${table(index)}`,
    ),
    ...many(10, (index) => `rule add pref 9500 lookup main suppress_prefixlength ${1 + index}`),
    ...many(
      60,
      (index) =>
        `rule add pref 10000 from ${address(index)} fwmark ${1 + index} ${table(index)} ${protocol(index)}`,
    ),
    ...many(
      30,
      (index) => `rule add pref 10000 from 10.${index % 3}.0.${101 + index} ${table(index)}`,
    ),
    ...many(30, (index) => `rule add pref 10500 from 198.51.100.${index} unreachable`),
    ...many(
      40,
      (index) =>
        `rule add pref ${21_000 + (index % 4)} to 198.51.100.${index} ${table(index)} ${protocol(index)}`,
    ),
    ...many(30, (index) => `rule add pref ${10_001 + index} iif f0 tos 0x10 lookup ${900 + index}`),
  ];
}

/** Comings and goings beside them, an even number of lines that leaves nothing behind. */
export function passing(count: number, seed: number): readonly string[] {
  const pairs = Array.from({ length: count / 2 }, (_, index): readonly string[] => {
    const low = index & 255;
    const net = `${seed & 255}.${low}`;
    const objects = [
      `route OP default via 192.0.2.2 metric ${40_000 + low}`,
      `route OP 198.51.100.${low} via 192.0.2.2 table ${7701 + (index % 4)} metric ${100 + seed}`,
      `rule OP pref 10000 from 172.16.${net} lookup ${7701 + (index % 4)} proto static`,
      `addr OP 172.30.${net}/32 dev wan${index % 3}`,
      `route OP 172.31.${net} dev wan${index % 3} proto static`,
      `rule OP pref 9000 oif wan${index % 3} fwmark ${1_000 + low} lookup 900`,
    ];
    const object = objects[index % objects.length] ?? "";
    return [object.replace("OP", "add"), object.replace("OP", "del")];
  });
  return pairs.flat();
}

function protocol(index: number): string {
  return `proto ${PROTOCOLS[index % PROTOCOLS.length]}`;
}

function many(length: number, line: (index: number) => string): readonly string[] {
  return Array.from({ length }, (_, index) => line(index));
}

/**
 * All that the kernel holds and that is not ours, as ip(8) writes it: each protocol's rules, routes
 * and addresses, next hops, links and settings. Without wan3, which comes and goes.
 */
export async function foreignText(host: Namespace): Promise<readonly string[]> {
  const listings = await Promise.all([
    host.ip("-4", "-d", "rule"),
    host.ip("-6", "-d", "rule"),
    host.ip("-4", "-d", "route", "show", "table", "all"),
    host.ip("-6", "-d", "route", "show", "table", "all"),
    host.ip("-o", "addr"),
    host.ip("nexthop"),
    host.ip("-o", "-d", "link"),
    host.shell("grep -r . /proc/sys/net/ipv4/conf/f0 /proc/sys/net/ipv4/conf/all | sort"),
  ]);
  return listings.flatMap((text) =>
    text
      .split("\n")
      .filter((line) => line.trim() !== "" && !isOurs(line) && !/\bwan3\b|\/conf\/wan3/.test(line))
      .map(withoutMoment)
      .toSorted(),
  );
}

/** By the mark; of addresses by the flag that nobody else uses here; and what the kernel makes of them. */
function isOurs(line: string): boolean {
  return (
    /\bproto(col)? (77|mnm)\b/.test(line) ||
    line.includes("noprefixroute") ||
    /^local 10\.\d\.0\.100 .*table local|table local .*src 10\.\d\.0\.100 /.test(line)
  );
}

/** Without what changes by itself: lifetimes, carrier, and the order of equal rules. */
function withoutMoment(line: string): string {
  return line
    .replace(/(valid_lft|preferred_lft|expires) \d+sec/g, "$1 N")
    .replace(/ linkdown\b/g, "")
    .replace(/\s+/g, " ")
    .trim();
}

/** What two texts do not have in common. */
export function differences(before: readonly string[], now: readonly string[]): readonly string[] {
  return [...missing(before, now, "gone"), ...missing(now, before, "new")];
}

function missing(of: readonly string[], from: readonly string[], what: string): readonly string[] {
  const counts = new Map<string, number>();
  for (const line of from) counts.set(line, (counts.get(line) ?? 0) + 1);
  return of.flatMap((line) => {
    const count = counts.get(line) ?? 0;
    counts.set(line, count - 1);
    return count > 0 ? [] : [`${what}: ${line}`];
  });
}
