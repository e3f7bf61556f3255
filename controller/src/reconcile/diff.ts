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
import {
  MAIN,
  type PlannedRule,
  type RoutingPlan,
  type WantedAddress,
  type WantedRoute,
} from "../plan/index.js";
import { addressKey, type ObjectKey, routeKey, ruleKey, wantedRuleOf } from "./keys.js";
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

export function diffKernel(
  plan: RoutingPlan,
  wantedSettings: readonly WantedSettings[],
  kernel: KernelView,
): readonly Operation[] {
  const puts = [
    ...wantedSettings.flatMap((wanted) => diffSettings(wanted, kernel)),
    ...plan.addresses.flatMap((address) => diffAddress(address, kernel)),
    ...plan.routes.flatMap((route) => diffRoute(route, kernel)),
    ...plan.rules.flatMap((planned) => diffRule(planned, kernel)),
  ];
  const temporary = temporaryDefaults(plan, kernel);
  const homes = new Set(temporary.map(({ route }) => routeKey(route)));
  const deletes = [
    ...temporary.map(({ link, route }): Operation => ({ kind: "delete-route", link, route })),
    ...surplusRoutes(plan, kernel, homes),
    ...surplusRules(plan, kernel),
    ...surplusAddresses(plan, kernel),
  ];
  const foreign = new Set(
    [...kernel.addresses.values()].flatMap(({ address, protocol }) =>
      protocol === MNM_PROTOCOL ? [] : [address],
    ),
  );
  const rank = (operation: Operation): number =>
    isFenceOf(operation, foreign) ? FENCE_OF_FOREIGN_RANK : rankOf(operation);
  return [
    ...[...puts, ...temporary].toSorted((a, b) => rank(a) - rank(b)),
    ...deletes.toSorted((a, b) => rank(b) - rank(a)),
  ];
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

function diffSettings(wanted: WantedSettings, kernel: KernelView): readonly Operation[] {
  const link = kernel.links.get(wanted.link.ifindex);
  if (link === undefined) return [];
  const up = wanted.up && !link.adminUp;
  const names = Object.keys(wanted.settings) as (keyof LinkSettings)[];
  const changed = names.filter((name) => wanted.settings[name] !== link.settings[name]);
  if (!up && changed.length === 0) return [];
  const settings = Object.fromEntries(changed.map((name) => [name, wanted.settings[name]]));
  return [{ kind: "put-settings", link: wanted.link, up, settings }];
}

function diffAddress(address: WantedAddress, kernel: KernelView): readonly Operation[] {
  const { link, expiry } = address;
  const key = addressKey(link.ifindex, address.address, address.length);
  const existing = kernel.addresses.get(key);
  const isAsWanted =
    existing !== undefined &&
    existing.protocol === MNM_PROTOCOL &&
    existing.noprefixroute &&
    existing.broadcast === address.broadcast &&
    sameExpiry(existing.expiry, expiry);
  return isAsWanted ? [] : [{ kind: "put-address", link, address }];
}

function sameExpiry(a: number | undefined, b: number | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Math.abs(a - b) <= LIFETIME_TOLERANCE_MS;
}

function diffRoute(route: WantedRoute, kernel: KernelView): readonly Operation[] {
  const existing = kernel.routes.get(routeKey(route));
  return isSameRoute(existing, route) ? [] : [{ kind: "put-route", link: route.link, route }];
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

function diffRule({ link, rule }: PlannedRule, kernel: KernelView): readonly Operation[] {
  return kernel.rules.get(ruleKey(rule))?.protocol === MNM_PROTOCOL
    ? []
    : [{ kind: "put-rule", link, rule }];
}

/**
 * Second homes for defaults in main that are about to take the place of another link's.
 *
 * The kernel knows one route per metric, so an exchange would leave one of the two without a default
 * between its two replacements. Each lives at 30000 more until both are in place.
 */
function temporaryDefaults(
  plan: RoutingPlan,
  kernel: KernelView,
): readonly (Operation & { kind: "put-route" })[] {
  const defaults = plan.routes.filter(({ table }) => table === MAIN);
  const heirs = new Set(defaults.map(({ link }) => link.ifindex));
  return defaults.flatMap((route) => {
    const existing = kernel.routes.get(routeKey(route));
    const isExchange =
      existing?.protocol === MNM_PROTOCOL &&
      existing.ifindex !== undefined &&
      existing.ifindex !== route.link.ifindex &&
      heirs.has(existing.ifindex);
    if (!isExchange) return [];
    const moved = { ...route, metric: route.metric + TEMPORARY_METRIC_OFFSET };
    return [{ kind: "put-route" as const, link: route.link, route: moved }];
  });
}

function surplusRoutes(
  plan: RoutingPlan,
  kernel: KernelView,
  spared: ReadonlySet<ObjectKey>,
): readonly Operation[] {
  const wanted = new Set([...spared, ...plan.routes.map((route) => routeKey(route))]);
  return [...kernel.routes].flatMap(([key, route]): readonly Operation[] => {
    if (route.protocol !== MNM_PROTOCOL || wanted.has(key)) return [];
    const link = route.ifindex === undefined ? undefined : kernel.links.get(route.ifindex);
    return link === undefined ? [] : [{ kind: "delete-route", link: linkRefOf(link), route }];
  });
}

function surplusRules(plan: RoutingPlan, kernel: KernelView): readonly Operation[] {
  const wanted = new Set(plan.rules.map(({ rule }) => ruleKey(rule)));
  return [...kernel.rules].flatMap(([key, existing]): readonly Operation[] => {
    if (existing.protocol !== MNM_PROTOCOL || wanted.has(key)) return [];
    const rule = wantedRuleOf(existing);
    return rule === undefined ? [] : [{ kind: "delete-rule", link: undefined, rule }];
  });
}

function surplusAddresses(plan: RoutingPlan, kernel: KernelView): readonly Operation[] {
  const wanted = new Set(
    plan.addresses.map(({ link, address, length }) => addressKey(link.ifindex, address, length)),
  );
  return [...kernel.addresses].flatMap(([key, existing]): readonly Operation[] => {
    if (existing.protocol !== MNM_PROTOCOL || wanted.has(key)) return [];
    const link = kernel.links.get(existing.ifindex);
    if (link === undefined) return [];
    const { address, length } = existing;
    return [{ kind: "delete-address", link: linkRefOf(link), address, length }];
  });
}
