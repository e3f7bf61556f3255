/** What the contract forbids of the verbs that send and receive packets; see hostile-oracle.ts. */
import type { ArenaLink } from "./hostile-arena.js";
import {
  bytes,
  type Code,
  isOwn,
  isOwnTable,
  isUnicast,
  linkCheck,
  maybe,
  message,
  number,
  unless,
  type World,
} from "./hostile-oracle.js";
import type { Message, Value } from "./hostile-wire.js";

export function openPackets(world: World, link: Message): readonly Code[] {
  // Every link of the arena carries IPv4.
  return linkCheck(world, link)[1];
}

export function sendDhcp(world: World, request: Message): readonly Code[] {
  const [link, faults] = linkCheck(world, request["link"]);
  const payload = bytes(request["payload"]);
  const isWhole = payload.length >= 240 && payload.length <= 1472;
  const ciaddr = payload.length >= 16 ? payload.readUInt32BE(12) : 0;
  const [server, source] = [maybe(request, "server"), maybe(request, "source")];
  const isUnicastOurs = ciaddr !== 0 && source === ciaddr && isUnicast(server ?? 0);
  return [
    ...faults,
    ...unless(isWhole && isBootRequest(payload, link), "malformed"),
    ...unless(ciaddr === 0 || isOwn(world, link, ciaddr), "not_permitted"),
    ...unless(server !== undefined || source === undefined, "malformed"),
    ...unless(server === undefined || isUnicastOurs, "not_permitted"),
    ...unless(link === undefined || world.ports.has(link.ifindex), "not_permitted"),
  ];
}

/** RFC 2131 §2: op, htype, hlen, hops; giaddr at 24; chaddr at 28; the cookie at 236. */
function isBootRequest(payload: Buffer, link: ArenaLink | undefined): boolean {
  if (link === undefined) return true;
  const mac = link.isEthernet ? link.mac : Buffer.alloc(0);
  const chaddr = Buffer.concat([mac, Buffer.alloc(16 - mac.length)]);
  const isType = !link.isEthernet || payload[1] === 1;
  const isHead = payload[0] === 1 && payload[2] === mac.length && payload[3] === 0;
  const isClient = payload.readUInt32BE(24) === 0 && payload.subarray(28, 44).equals(chaddr);
  return isType && isHead && isClient && payload.readUInt32BE(236) === 0x63825363;
}

function arpLink(world: World, ref: Value | undefined): [ArenaLink | undefined, readonly Code[]] {
  const [link, faults] = linkCheck(world, ref);
  return [link, [...faults, ...unless(link?.isEthernet ?? true, "not_permitted")]];
}

export function watchArp(world: World, watch: Message): readonly Code[] {
  const addresses = watch["addresses"];
  const list: readonly unknown[] = Array.isArray(addresses) ? addresses : [];
  return [
    ...arpLink(world, watch["link"])[1],
    ...unless(list.length <= 4, "not_permitted"),
    ...unless(
      list.every((one) => isUnicast(Number(one))),
      "not_permitted",
    ),
  ];
}

export function sendArp(world: World, request: Message): readonly Code[] {
  const [link, faults] = arpLink(world, request["link"]);
  // Of several kinds on the wire the last one counts; the encoder writes them in this order.
  const ask = message(request["request"]);
  const announcement = message(request["announcement"]);
  const probe = message(request["probe"]);
  if (ask !== undefined) return [...faults, ...arpRequest(world, link, ask)];
  if (announcement !== undefined) {
    const isMine = isOwn(world, link, number(announcement, "address"));
    return [...faults, ...unless(isMine, "not_permitted")];
  }
  if (probe === undefined) return [...faults, "malformed"];
  return [...faults, ...unless(isUnicast(number(probe, "target")), "not_permitted")];
}

function arpRequest(world: World, link: ArenaLink | undefined, ask: Message): readonly Code[] {
  const [sender, gateway] = [number(ask, "sender"), number(ask, "gateway")];
  const isGateway = world.routes
    .filter((route) => route.isOurs && isOwnTable(route.table) && route.ifindex === link?.ifindex)
    .some((route) => route.gateway === gateway);
  const mac = bytes(ask["gatewayMac"]);
  const isStation = mac.length === 6 && ((mac[0] ?? 0) & 1) === 0 && mac.some((byte) => byte > 0);
  return [
    ...unless(isOwn(world, link, sender), "not_permitted"),
    ...unless(isUnicast(gateway) && isGateway, "not_permitted"),
    ...unless(mac.length === 0 || isStation, "malformed"),
  ];
}

/** What is said of one event of MULTI, in a helper whose file does not allow them. */
export function legacyEvent(): readonly Code[] {
  return ["not_permitted"];
}
