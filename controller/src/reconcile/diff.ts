/**
 * From what the kernel holds to what it should hold, in an order that is safe to perform.
 *
 * Puts come first, each after what it depends on, then deletes in the reverse order, so that the
 * new exists before the old goes. Performing the operations and diffing again yields none; a caller
 * that was interrupted, or lost a notification, repairs everything by starting over.
 */
import { assertNever, type Ifindex, type Ipv4 } from "@mnm/proto/net";
import type { Link, LinkSettings } from "../link/index.js";
import { type LinkRef, linkRefOf } from "../link/index.js";
import { MAIN, type RoutingPlan, type WantedAddress, type WantedRoute } from "../plan/index.js";
import { isUplinkTable } from "../uplink/index.js";
import { type ObjectKey, operationKey, wantedRuleOf } from "./keys.js";
import type { Operation } from "./operation.js";
import { type KernelAddress, type KernelRoute, type KernelRule, MNM_PROTOCOL } from "./snapshot.js";

/** The kernel as the diff looks at it: by key, so that its cost is that of the plan. */
export interface KernelView {
  readonly links: ReadonlyMap<Ifindex, Link>;
  readonly addresses: ReadonlyMap<ObjectKey, KernelAddress>;
  readonly routes: ReadonlyMap<ObjectKey, KernelRoute>;
  readonly rules: ReadonlyMap<ObjectKey, KernelRule>;
}

/** What one managed, or no longer managed, link should be set to. */
export interface WantedSettings {
  readonly link: LinkRef;
  /** Set it admin up if it is down. */
  readonly up: boolean;
  readonly settings: Partial<LinkSettings>;
}

/** While metrics are exchanged, the defaults of both live at this much more. */
export const TEMPORARY_METRIC_OFFSET = 30_000;

/** The kernel counts lifetimes in seconds, and a refresh costs little: no need to be closer. */
const LIFETIME_TOLERANCE_MS = 3_000;

/** What is wanted at one key: the operation that would put it there, whatever is there now. */
export type Wanted = Extract<Operation, { readonly kind: `put-${string}` }>;

export function putSettings(wanted: WantedSettings): Wanted {
  return { kind: "put-settings", ...wanted };
}

export function putsOf({ addresses, routes, rules }: RoutingPlan): readonly Wanted[] {
  return [
    ...addresses.map((address): Wanted => ({ kind: "put-address", link: address.link, address })),
    ...routes.map((route): Wanted => ({ kind: "put-route", link: route.link, route })),
    ...rules.map(({ link, rule }): Wanted => ({ kind: "put-rule", link, rule })),
  ];
}

/**
 * What has to be done about one object: undefined when it is as wanted, and no operation when it
 * is not and nothing can be done.
 */
export function compare(
  key: ObjectKey,
  wanted: Wanted | undefined,
  kernel: KernelView,
): readonly Operation[] | undefined {
  switch (wanted?.kind) {
    case undefined:
      return surplus(key, kernel);
    case "put-settings":
      return compareSettings(wanted, kernel);
    case "put-address":
      return isSameAddress(kernel.addresses.get(key), wanted.address) ? undefined : [wanted];
    case "put-route":
      return isSameRoute(kernel.routes.get(key), wanted.route) ? undefined : [wanted];
    case "put-rule":
      return kernel.rules.get(key)?.protocol === MNM_PROTOCOL ? undefined : [wanted];
    default:
      return assertNever(wanted);
  }
}

/** The operations in an order that is safe, with the second homes that an exchange needs. */
export function inOrder(
  operations: readonly Operation[],
  wanted: ReadonlyMap<ObjectKey, Wanted>,
  kernel: KernelView,
): readonly Operation[] {
  if (operations.length === 0) return operations;
  const temporary = temporaryDefaults(operations, wanted, kernel);
  const homes = new Set(temporary.map(operationKey));
  const isPut = ({ kind }: Operation) => kind.startsWith("put");
  const puts = [...operations.filter(isPut), ...temporary];
  const deletes = [
    ...temporary.map(
      ({ link, route }): Operation => ({ kind: "delete-route", link, type: "unicast", route }),
    ),
    ...operations.filter((operation) => !isPut(operation) && !homes.has(operationKey(operation))),
  ];
  const foreign = new Set(
    [...kernel.addresses.values()].flatMap(({ address, protocol }) =>
      protocol === MNM_PROTOCOL ? [] : [address],
    ),
  );
  const rank = (operation: Operation): number =>
    isFenceOf(operation, foreign) ? FENCE_OF_FOREIGN_RANK : rankOf(operation);
  const sorted = puts.toSorted((a, b) => rank(a) - rank(b));
  return [
    // Links do not wait for one another, but in an exchange of metrics.
    ...(temporary.length > 0 ? sorted : byLink(sorted)),
    ...deletes.toSorted((a, b) => rank(b) - rank(a)),
  ];
}

/** The same order within each link, one link after the other; what is of no link comes first. */
function byLink(operations: readonly Operation[]): readonly Operation[] {
  const groups = new Map<Ifindex | undefined, Operation[]>([[undefined, []]]);
  for (const operation of operations) {
    const group = groups.get(operation.link?.ifindex);
    if (group === undefined) groups.set(operation.link?.ifindex, [operation]);
    else group.push(operation);
  }
  return [...groups.values()].flat();
}

/**
 * The order of adding. Removing is the reverse.
 *
 * Rule 10500 is there before the address and after it, else traffic from the address leaves by
 * another link. The kernel accepts a default in main whose gateway is reachable only through the
 * uplink's table once rule 9000 exists.
 */
function rankOf(operation: Operation): number {
  switch (operation.kind) {
    case "put-settings":
      return 0;
    case "put-rule":
    case "delete-rule":
      return operation.rule.kind === "source-unreachable" ? 1 : 6;
    case "put-address":
    case "delete-address":
      return 2;
    case "put-route":
    case "delete-route":
      return rankOfRoute(operation);
    default:
      return assertNever(operation);
  }
}

/**
 * An address that another program put there carries traffic already: its fence comes after the rule
 * that leads through it, and goes before it, or that traffic would be refused in between.
 */
const FENCE_OF_FOREIGN_RANK = 6.5;

function isFenceOf(operation: Operation, addresses: ReadonlySet<Ipv4>): boolean {
  const isRule = operation.kind === "put-rule" || operation.kind === "delete-rule";
  const rule = isRule ? operation.rule : undefined;
  return rule?.kind === "source-unreachable" && addresses.has(rule.from);
}

function rankOfRoute({ route }: Operation & { kind: "put-route" | "delete-route" }): number {
  if (route.table === MAIN) return route.metric > TEMPORARY_METRIC_OFFSET ? 7 : 8;
  if (route.destination.length === 0) return 5;
  return "gateway" in route && route.gateway !== undefined ? 4 : 3;
}

function compareSettings(
  wanted: Wanted & { kind: "put-settings" },
  kernel: KernelView,
): readonly Operation[] | undefined {
  const link = kernel.links.get(wanted.link.ifindex);
  if (link === undefined) return undefined;
  const up = wanted.up && !link.adminUp;
  const names = Object.keys(wanted.settings) as (keyof LinkSettings)[];
  const changed = names.filter((name) => wanted.settings[name] !== link.settings[name]);
  if (!up && changed.length === 0) return undefined;
  const settings = Object.fromEntries(changed.map((name) => [name, wanted.settings[name]]));
  return [{ kind: "put-settings", link: wanted.link, up, settings }];
}

function isSameAddress(existing: KernelAddress | undefined, wanted: WantedAddress): boolean {
  return (
    existing !== undefined &&
    existing.protocol === MNM_PROTOCOL &&
    existing.noprefixroute &&
    existing.broadcast === wanted.broadcast &&
    isSameExpiry(existing.expiry, wanted.expiry)
  );
}

function isSameExpiry(a: number | undefined, b: number | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Math.abs(a - b) <= LIFETIME_TOLERANCE_MS;
}

function isSameRoute(existing: KernelRoute | undefined, wanted: WantedRoute): boolean {
  return (
    existing !== undefined &&
    existing.protocol === MNM_PROTOCOL &&
    existing.type === "unicast" &&
    existing.ifindex === wanted.link.ifindex &&
    existing.gateway === wanted.gateway &&
    existing.preferredSource === wanted.preferredSource &&
    existing.mtu === wanted.mtu
  );
}

/**
 * Second homes for defaults in main that are about to take the place of another link's.
 *
 * The kernel knows one route per metric, so an exchange would leave one of the two without a default
 * between its two replacements. Each lives at 30000 more until both are in place.
 */
function temporaryDefaults(
  operations: readonly Operation[],
  wanted: ReadonlyMap<ObjectKey, Wanted>,
  kernel: KernelView,
): readonly PutRoute[] {
  const intruders = operations.filter((operation): operation is PutRoute => {
    if (operation.kind !== "put-route" || operation.route.table !== MAIN) return false;
    const existing = kernel.routes.get(operationKey(operation));
    return existing?.protocol === MNM_PROTOCOL && existing.ifindex !== operation.link.ifindex;
  });
  if (intruders.length === 0) return [];
  const heirs = new Set(
    [...wanted.values()].flatMap((put) =>
      put.kind === "put-route" && put.route.table === MAIN ? [put.link.ifindex] : [],
    ),
  );
  return intruders.flatMap((operation): readonly PutRoute[] => {
    const holder = kernel.routes.get(operationKey(operation))?.ifindex;
    if (holder === undefined || !heirs.has(holder)) return [];
    const { link, route } = operation;
    const moved = { ...route, metric: route.metric + TEMPORARY_METRIC_OFFSET };
    return [{ kind: "put-route", link, route: moved }];
  });
}

type PutRoute = Operation & { kind: "put-route" };

/**
 * An unreachable, blackhole or throw route has no link in the kernel, and outlives the one whose
 * table it was put into: the helper takes away those in the tables of uplinks. A unicast one without
 * a link that is there has several, or its end is on the way.
 */
function surplusRoute(route: KernelRoute, { links }: KernelView): readonly Operation[] {
  const { type, table, ifindex } = route;
  if (type === "other") return [];
  // Another program's with our number: no run of ours had more in main than defaults.
  if (table === MAIN && route.destination.length > 0) return [];
  const link = ifindex === undefined ? undefined : links.get(ifindex);
  const canGo = link !== undefined || (type !== "unicast" && isUplinkTable(table));
  const ref = link === undefined ? undefined : linkRefOf(link);
  return canGo ? [{ kind: "delete-route", link: ref, type, route }] : [];
}

/** What of ours is there and not wanted. Its link may be gone by now: then it cannot be named. */
function surplus(key: ObjectKey, kernel: KernelView): readonly Operation[] | undefined {
  const route = kernel.routes.get(key);
  if (route?.protocol === MNM_PROTOCOL) return surplusRoute(route, kernel);
  const rule = kernel.rules.get(key);
  if (rule?.protocol === MNM_PROTOCOL) {
    const shape = wantedRuleOf(rule);
    return shape === undefined ? [] : [{ kind: "delete-rule", link: undefined, rule: shape }];
  }
  const held = kernel.addresses.get(key);
  if (held?.protocol !== MNM_PROTOCOL) return undefined;
  const link = kernel.links.get(held.ifindex);
  if (link === undefined) return [];
  const { address, length } = held;
  return [{ kind: "delete-address", link: linkRefOf(link), address, length }];
}
