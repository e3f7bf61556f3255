import { fileURLToPath } from "node:url";
import { formatIpv4, ipv4FromUint32 } from "@mnm/proto/net";
import { must } from "../lab/run.js";
import { ip4 } from "./helper-rig.js";
import { type Arena, asList, isAllowedName, path } from "./hostile-arena.js";
import { type HeldAddress, lastOf } from "./hostile-oracle.js";

/** All that the kernel holds in a namespace, as lines of text. */
export interface Snapshot {
  /** What carries protocol 77. */
  readonly ours: readonly string[];
  /** Everything else, but the five settings of allowed links, and what table local has for ours. */
  readonly others: readonly string[];
}

const FIVE = "rp_filter|arp_ignore|arp_announce|ignore_routes_with_linkdown|promote_secondaries";
const OWN_SETTING = new RegExp(`^/proc/sys/net/ipv4/conf/(wan|tun)\\d/(${FIVE}):`);
/** Counters and caches, which move by themselves. */
const MOVING = /^\/proc\/sys\/net\/(netfilter\/nf_conntrack_count|ipv[46]\/route\/flush|.*stat)/;

export async function snapshot(arena: Arena): Promise<Snapshot> {
  const { namespace } = arena.rig;
  const inside = (...command: readonly string[]) =>
    must("ip", ["netns", "exec", namespace, ...command]);
  const json = async (...args: readonly string[]): Promise<readonly unknown[]> =>
    asList(JSON.parse(await arena.rig.ip("-j", "-d", ...args)));
  const held = await addressOwners(arena);
  const own = held.filter(({ isOurs }) => isOurs);
  const nameOf = (held: HeldAddress) =>
    arena.links.find(({ ifindex }) => ifindex === held.ifindex)?.name ?? "";
  const named = held.map((one) => ({ ...one, link: nameOf(one) }));
  const ownNames = own.map((one) => `${nameOf(one)} ${one.address} ${one.peer}/${one.length}`);
  const [links, addresses, routes, routes6, rules, rules6, neighbours, nexthops] =
    await Promise.all([
      json("link"),
      json("addr"),
      json("-4", "route", "show", "table", "all"),
      json("-6", "route", "show", "table", "all"),
      json("-4", "rule"),
      json("-6", "rule"),
      json("neigh"),
      json("nexthop"),
    ]);
  const texts = await Promise.all([
    arena.rig.ip("neigh", "show", "proxy"),
    arena.rig.ip("maddress"),
    inside("nft", "list", "ruleset"),
    inside("tc", "-d", "qdisc"),
    inside("tc", "filter", "show", "dev", "wan0", "ingress"),
    inside("bridge", "fdb"),
    inside("bridge", "-d", "link"),
    inside("sh", "-c", "grep -rs . /proc/sys/net || true"),
  ]);
  const flat = addresses.flatMap((link) =>
    asList(path(link, "addr_info")).map((one) => ({ link: path(link, "ifname"), ...Object(one) })),
  );
  const isOurs = (one: unknown) =>
    path(one, "protocol") === "77" || path(one, "protocol") === "mnm";
  const isOurAddress = (one: unknown) => {
    if (path(one, "family") !== "inet") return false;
    const [address, peer] = [path(one, "local"), path(one, "address") ?? path(one, "local")];
    const ends = `${ip4(String(address))} ${ip4(String(peer))}/${path(one, "prefixlen")}`;
    return ownNames.includes(`${path(one, "link")} ${ends}`);
  };
  const objects = [...routes, ...rules];
  const foreign = [
    ...links,
    ...flat.filter((one) => !isOurAddress(one)),
    ...objects.filter((one) => !isOurs(one) && !isDerived(one, named)),
    ...[...routes6, ...rules6, ...nexthops],
    ...neighbours.filter((one) => !isResolved(one)),
  ];
  return {
    ours: [...objects.filter(isOurs), ...flat.filter(isOurAddress)].map(lineOf).toSorted(),
    others: [
      ...foreign.map(lineOf),
      ...texts.flatMap((text) => text.split("\n")).filter((line) => !isMoving(line)),
    ].toSorted(),
  };
}

/**
 * Lifetimes go down; which is finite, and roughly how long, stays. Timers of a bridge run always.
 * Whether a route without carrier counts as dead is one of the five settings.
 */
function lineOf(object: unknown): string {
  return JSON.stringify(object, (key, value: unknown) => {
    if (key.endsWith("_timer")) return undefined;
    if (key === "flags" && Array.isArray(value)) return value.filter((flag) => flag !== "dead");
    const isCountdown = /life_time$/.test(key) && typeof value === "number" && value < 0xffff_ffff;
    return isCountdown ? `about ${Math.ceil(value / 20_000)}` : value;
  });
}

function isMoving(line: string): boolean {
  return OWN_SETTING.test(line) || MOVING.test(line);
}

/**
 * What nobody put there: the kernel asks for the neighbours of what is sent by allowed links, and on
 * any link when it tells a sender that a packet did not arrive.
 */
function isResolved(neighbour: unknown): boolean {
  const state = String(path(neighbour, "state"));
  const isAllowed = isAllowedName(String(path(neighbour, "dev")));
  return /INCOMPLETE|FAILED/.test(state) || (isAllowed && state !== "PERMANENT");
}

/** What the kernel itself puts into table local for the addresses of protocol 77. */
function isDerived(
  route: unknown,
  addresses: readonly (HeldAddress & { link: string })[],
): boolean {
  if (path(route, "table") !== "local" || path(route, "protocol") !== "kernel") return false;
  const here = addresses
    .filter(({ link }) => link === path(route, "dev"))
    .map((held) => ({ ...held, text: formatIpv4(ipv4FromUint32(held.address)) }));
  const own = here.filter(({ isOurs }) => isOurs);
  const isOwn = (address: unknown) => own.some(({ text }) => text === address);
  const [to, source] = [path(route, "dst"), path(route, "prefsrc")];
  if (path(route, "type") === "local") {
    // Another program may have the same address there. The source is the first of its prefix.
    const isShared = here.some(({ text, isOurs }) => text === to && !isOurs);
    return isOwn(to) && (!isShared || (source !== to && isOwn(source)));
  }
  return own.some(({ text, peer, length }) => {
    const last = formatIpv4(ipv4FromUint32(lastOf(peer, length)));
    return text === source && length <= 30 && to === last;
  });
}

/** What of others is in one of the snapshots only. */
export function differences(before: Snapshot | undefined, now: Snapshot): readonly string[] {
  const was = before?.others ?? [];
  return [
    ...was.filter((line) => !now.others.includes(line)).map((line) => `gone: ${line}`),
    ...now.others.filter((line) => !was.includes(line)).map((line) => `new: ${line}`),
  ];
}

/** Every address with its owner, which iproute2 before 6.3 cannot tell. */
export async function addressOwners(arena: Arena): Promise<readonly HeldAddress[]> {
  const script = fileURLToPath(new URL("./address-protocols.js", import.meta.url));
  const command = ["netns", "exec", arena.rig.namespace, process.execPath, script, "--whole"];
  const lines = (await must("ip", command)).trim().split("\n");
  return lines.map((line) => {
    const [address = "", protocol, ifindex, length, peer = "", broadcast] = line.split(" ");
    return {
      ifindex: Number(ifindex),
      address: ip4(address),
      length: Number(length),
      peer: ip4(peer),
      broadcast: broadcast === undefined ? undefined : ip4(broadcast),
      isOurs: protocol === "77",
    };
  });
}
