/**
 * Says which calls the contract forbids, from docs/helper-contract.md and the comments of the
 * `.proto`, with nothing of the helper's own code. For a call it lists every sentence that the call
 * breaks, as the code with which the helper is to refuse; any of them will do. An empty list says
 * that the call is allowed.
 */
import { ALLOWED, type Allowed, type ArenaLink } from "./hostile-arena.js";
import { isMessage, type Message, type Value } from "./hostile-wire.js";

export type Code = "malformed" | "not_permitted" | "link_mismatch" | "foreign";

export interface HeldAddress {
  readonly ifindex: number;
  readonly address: number;
  readonly length: number;
  readonly peer: number;
  readonly broadcast: number | undefined;
  readonly isOurs: boolean;
}

export interface HeldRoute {
  readonly table: number;
  readonly network: number;
  readonly length: number;
  readonly metric: number;
  readonly ifindex: number;
  readonly gateway: number;
  readonly isOurs: boolean;
}

/** What the kernel holds, as far as the contract speaks of it. */
export interface World {
  readonly links: readonly ArenaLink[];
  readonly main: Allowed["mainMetrics"];
  readonly addresses: readonly HeldAddress[];
  readonly routes: readonly HeldRoute[];
  /** Of links whose packet port is open. */
  readonly ports: ReadonlySet<number>;
}

/** The code if the condition does not hold. */
export const unless = (condition: boolean, code: Code): readonly Code[] =>
  condition ? [] : [code];

export function number(message: Message, field: string): number {
  const value = message[field];
  return typeof value === "number" ? value : 0;
}

export function maybe(message: Message, field: string): number | undefined {
  const value = message[field];
  return typeof value === "number" ? value : undefined;
}

export const message = (value: Value | undefined): Message | undefined =>
  isMessage(value) ? value : undefined;
const text = (value: Value | undefined): string => (typeof value === "string" ? value : "");
export const bytes = (value: Value | undefined): Buffer =>
  Buffer.from(value instanceof Uint8Array ? value : []);

export const sizeOf = (length: number): number => 2 ** (32 - length);
export const networkOf = (address: number, length: number): number =>
  Math.floor(address / sizeOf(length)) * sizeOf(length);
export const lastOf = (address: number, length: number): number =>
  networkOf(address, length) + sizeOf(length) - 1;
export const isUnicast = (address: number): boolean => {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
};
const isLength = (length: number, least: number): boolean => length >= least && length <= 32;

/** The link that a call names, when it exists; and what is wrong with how it is named. */
export function linkCheck(
  world: World,
  value: Value | undefined,
): [ArenaLink | undefined, readonly Code[]] {
  const ref = message(value);
  if (ref === undefined) return [undefined, ["malformed"]];
  const link = world.links.find(({ ifindex }) => ifindex === number(ref, "ifindex"));
  if (link === undefined) return [undefined, ["link_mismatch"]];
  const isSame = text(ref["name"]) === link.name && bytes(ref["mac"]).equals(link.mac);
  return [link, [...unless(isSame, "link_mismatch"), ...unless(link.isAllowed, "not_permitted")]];
}

export function isOwn(world: World, link: ArenaLink | undefined, address: number): boolean {
  return world.addresses.some((one) => one.ifindex === link?.ifindex && one.address === address);
}

/** Whether a link that is not allowed holds or covers the address. */
function isTaken(world: World, address: number): boolean {
  const disallowed = world.links.filter((link) => !link.isAllowed).map(({ ifindex }) => ifindex);
  return world.addresses
    .filter(({ ifindex }) => disallowed.includes(ifindex))
    .some(
      (held) =>
        held.address === address ||
        networkOf(held.peer, held.length) === networkOf(address, held.length),
    );
}

export function putAddress(world: World, request: Message): readonly Code[] {
  const [link, faults] = linkCheck(world, request["link"]);
  const [address, length] = [number(request, "address"), number(request, "prefixLength")];
  const [broadcast, peer] = [maybe(request, "broadcast"), maybe(request, "peer")];
  const hasEnds = isLength(length, 1) && length <= 30;
  const last = hasEnds ? lastOf(address, length) : undefined;
  const isEnd = hasEnds && (address === last || address === networkOf(address, length));
  const isOwnBroadcast = broadcast === last && peer === undefined;
  const connected = peer ?? address;
  const covers = hasEnds && isTaken(world, lastOf(connected, length));
  const ours = world.addresses.filter(
    (held) => held.isOurs && held.ifindex === link?.ifindex && !isSameAddress(held, request),
  );
  const isForeign = world.addresses.some(
    (held) => !held.isOurs && held.ifindex === link?.ifindex && isSameAddress(held, request),
  );
  return [
    ...faults,
    ...unless(isUnicast(address), "not_permitted"),
    ...unless(isLength(length, 1), "malformed"),
    ...unless(!isEnd, "malformed"),
    ...unless(broadcast === undefined || isOwnBroadcast, "malformed"),
    ...unless(peer === undefined || (link?.isPointToPoint ?? true), "not_permitted"),
    ...unless(peer === undefined || isUnicast(peer), "not_permitted"),
    ...unless(!isTaken(world, address) && !covers, "not_permitted"),
    ...unless(number(request, "validSec") >= 1, "malformed"),
    ...unless(ours.length < 16, "not_permitted"),
    ...unless(!isForeign, "foreign"),
  ];
}

/** Whether the kernel would take the one for the other. */
export function isSameAddress(held: HeldAddress, request: Message): boolean {
  const [address, length] = [number(request, "address"), number(request, "prefixLength")];
  const peer = maybe(request, "peer") ?? address;
  const isSame = held.address === address && held.length === length;
  return isSame && networkOf(held.peer, length) === networkOf(peer, length);
}

export function deleteAddress(world: World, request: Message): readonly Code[] {
  const [link, faults] = linkCheck(world, request["link"]);
  const [address, length] = [number(request, "address"), number(request, "prefixLength")];
  const isForeign = world.addresses
    .filter((held) => held.ifindex === link?.ifindex && held.address === address)
    .some((held) => !held.isOurs && held.length === length);
  return [...faults, ...unless(isLength(length, 1), "malformed"), ...unless(!isForeign, "foreign")];
}

const MAIN = 254;
const UNICAST = 1;

export const isOwnTable = (table: number): boolean =>
  table >= ALLOWED.tables[0] && table <= ALLOWED.tables[1];

export function deleteRoute(world: World, request: Message): readonly Code[] {
  const [table, type] = [number(request, "table"), number(request, "type")];
  // Unreachable, blackhole and throw outlive their link.
  const isLinkless = request["link"] === undefined && type > UNICAST && table !== MAIN;
  const [link, faults] = isLinkless ? [undefined, []] : linkCheck(world, request["link"]);
  return [...faults, ...routeTarget(world, request, link)];
}

function routeTarget(world: World, request: Message, link: ArenaLink | undefined): readonly Code[] {
  const [table, type] = [number(request, "table"), number(request, "type")];
  const destination = message(request["destination"]);
  const [network, length] = [
    number(destination ?? {}, "network"),
    number(destination ?? {}, "length"),
  ];
  const isPrefix =
    destination !== undefined && isLength(length, 0) && networkOf(network, length) === network;
  const first = network >>> 24;
  const metric = number(request, "metric");
  const [lowest, highest] = world.main ?? [1, 0];
  const isDefault = length === 0 && type === UNICAST && metric >= lowest && metric <= highest;
  const gateway = maybe(request, "gateway");
  const isNextHop = gateway === undefined || (isUnicast(gateway) && !isOwn(world, link, gateway));
  return [
    ...unless(type >= 1 && type <= 4, "malformed"),
    ...unless(isPrefix, "malformed"),
    ...unless(table === MAIN ? isDefault : isOwnTable(table), "not_permitted"),
    ...unless(!isPrefix || (first !== 127 && first < 224), "not_permitted"),
    ...unless(gateway === undefined || type === UNICAST, "malformed"),
    ...unless(isNextHop, "not_permitted"),
  ];
}

export function putRoute(world: World, request: Message): readonly Code[] {
  const [link, faults] = linkCheck(world, request["link"]);
  const [source, mtu] = [maybe(request, "preferredSource"), maybe(request, "mtu")];
  const isUnicastRoute = number(request, "type") === UNICAST;
  const isPlain = source === undefined && mtu === undefined;
  const hasGateway = maybe(request, "gateway") !== undefined;
  const isForeign = world.routes.some((held) => !held.isOurs && isSameRoute(held, request));
  return [
    ...faults,
    ...routeTarget(world, request, link),
    ...unless(isUnicastRoute || isPlain, "malformed"),
    ...unless(number(request, "onlink") === 0 || hasGateway, "malformed"),
    ...unless(mtu === undefined || (mtu >= 576 && mtu <= 9216), "malformed"),
    ...unless(source === undefined || isOwn(world, link, source), "not_permitted"),
    ...unless(!isForeign, "foreign"),
  ];
}

function isSameRoute(held: HeldRoute, request: Message): boolean {
  const destination = message(request["destination"]) ?? {};
  const isSamePlace =
    held.table === number(request, "table") && held.metric === number(request, "metric");
  const isSameNetwork = held.network === number(destination, "network");
  return isSamePlace && isSameNetwork && held.length === number(destination, "length");
}

type Field = "device" | "from" | "to" | "table" | "metric" | "priority" | "uid" | "fwmark";
export const RULE = {
  DEVICE: 1,
  MAIN_WITHOUT_DEFAULTS: 3,
  SOURCE_UNREACHABLE: 5,
  CONNECTED: 6,
  IIF: 9,
};

/** By kind, the fields that a rule has; it has no others. */
export const RULE_FIELDS: readonly (readonly Field[] | undefined)[] = [
  undefined,
  ["device", "table"],
  ["from", "to", "table"],
  [],
  ["from", "table"],
  ["from"],
  ["to", "table", "metric"],
  ["uid", "table", "priority"],
  ["fwmark", "table", "priority"],
  ["device", "table", "priority"],
];

const OPTIONAL: readonly string[] = ["from", "to", "uid"];
const FIELDS: readonly Field[] = [
  ...(["device", "from", "to", "table", "metric", "priority", "uid", "fwmark"] as const),
];

export function deleteRule(_world: World, request: Message): readonly Code[] {
  const rule = message(request["rule"]);
  if (rule === undefined) return ["malformed"];
  const fields = RULE_FIELDS[number(rule, "kind")];
  const isPresent = (field: Field) => {
    const value = rule[field];
    return OPTIONAL.includes(field) ? value !== undefined : Boolean(value);
  };
  const isShape = FIELDS.every((field) => isPresent(field) === (fields?.includes(field) ?? false));
  const device = text(rule["device"]);
  const to = message(rule["to"]);
  const [network, length] = [number(to ?? {}, "network"), number(to ?? {}, "length")];
  const isPrefix = isLength(length, 0) && networkOf(network, length) === network;
  const [table, from] = [number(rule, "table"), maybe(rule, "from")];
  const priority = number(rule, "priority");
  return [
    ...unless(fields !== undefined && isShape, "malformed"),
    // What dev_valid_name() of net/core/dev.c takes, and nothing outside of ASCII.
    ...unless(/^[!-.0-9;-~]{0,15}$/.test(device) && !/^\.\.?$/.test(device), "malformed"),
    ...unless(number(rule, "metric") <= 9999, "not_permitted"),
    ...unless(priority === 0 || (priority >= 9600 && priority <= 9899), "not_permitted"),
    ...unless(to === undefined || isPrefix, "malformed"),
    ...unless(to === undefined || length > 0, "not_permitted"),
    ...unless(table === 0 || isOwnTable(table), "not_permitted"),
    ...unless(from === undefined || isUnicast(from), "not_permitted"),
  ];
}

export function putRule(world: World, request: Message): readonly Code[] {
  const shape = deleteRule(world, request);
  const rule = message(request["rule"]) ?? {};
  const kind = number(rule, "kind");
  if (kind === RULE.MAIN_WITHOUT_DEFAULTS) {
    return [...shape, ...unless(request["link"] === undefined, "malformed")];
  }
  const [link, faults] = linkCheck(world, request["link"]);
  const from = maybe(rule, "from");
  const to = message(rule["to"]);
  const isMine = from === undefined || isOwn(world, link, from);
  const isFree = from === undefined || !isTaken(world, from);
  const [network, length] = [number(to ?? {}, "network"), number(to ?? {}, "length")];
  const isConnected = world.addresses.some(
    (held) =>
      held.ifindex === link?.ifindex &&
      held.length === length &&
      networkOf(held.peer, length) === network,
  );
  return [
    ...shape,
    ...faults,
    ...selectorFaults(rule, link),
    ...unless(kind === RULE.SOURCE_UNREACHABLE ? isFree : isMine, "not_permitted"),
    ...unless(to === undefined || isConnected, "not_permitted"),
  ];
}

function selectorFaults(rule: Message, link: ArenaLink | undefined): readonly Code[] {
  const kind = number(rule, "kind");
  const device = text(rule["device"]);
  const [uid, fwmark] = [maybe(rule, "uid"), number(rule, "fwmark")];
  return [
    ...unless(kind !== RULE.DEVICE || device === link?.name, "not_permitted"),
    ...unless(kind !== RULE.IIF || ALLOWED.iifs.includes(device), "not_permitted"),
    ...unless(uid === undefined || ALLOWED.uids.includes(uid), "not_permitted"),
    ...unless(fwmark === 0 || ALLOWED.fwmarks.includes(fwmark), "not_permitted"),
  ];
}

const LARGEST = {
  rpFilter: 2,
  arpIgnore: 8,
  arpAnnounce: 2,
  ignoreRoutesWithLinkdown: 1,
  promoteSecondaries: 1,
};

export function putLinkSettings(world: World, request: Message): readonly Code[] {
  const [, faults] = linkCheck(world, request["link"]);
  const settings = Object.entries(LARGEST);
  return [
    ...faults,
    ...settings.flatMap(([field, most]) => unless(number(request, field) <= most, "not_permitted")),
  ];
}
