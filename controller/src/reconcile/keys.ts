/**
 * Which object it is, apart from how it is. Wanted objects, kernel objects and operations on the
 * same object have the same key.
 */
import {
  assertNever,
  formatIpv4,
  formatIpv4Prefix,
  type Ifindex,
  type Ipv4,
  networkOf,
  type PrefixLength,
} from "@mnm/proto/net";
import type { WantedRule } from "../plan/index.js";
import type { Operation, RouteIdentity } from "./operation.js";
import type { KernelRule } from "./snapshot.js";

export type ObjectKey = string;

export function settingsKey(ifindex: Ifindex): ObjectKey {
  return `settings ${ifindex}`;
}

export function addressKey(ifindex: Ifindex, address: Ipv4, length: PrefixLength): ObjectKey {
  return `address ${ifindex} ${formatIpv4(address)}/${length}`;
}

/** NLM_F_EXCL and NLM_F_REPLACE match an IPv4 route by these, and by its type of service. */
export function routeKey({ table, destination, metric }: RouteIdentity, tos = 0): ObjectKey {
  return `route ${table} ${formatIpv4Prefix(destination)} ${metric}${tos === 0 ? "" : ` tos ${tos}`}`;
}

/** A rule has no attributes: every field says which it is. */
function ruleKey(rule: WantedRule): ObjectKey {
  return `rule ${renderRule(rule)}`;
}

/** The key of a kernel rule that is of one of our kinds, else a key that none of ours has. */
export function kernelRuleKey(rule: KernelRule): ObjectKey {
  const wanted = wantedRuleOf(rule);
  return wanted === undefined ? `other rule ${JSON.stringify(rule)}` : ruleKey(wanted);
}

export function operationKey(operation: Operation): ObjectKey {
  switch (operation.kind) {
    case "put-settings":
      return settingsKey(operation.link.ifindex);
    case "put-address":
      return addressKey(
        operation.link.ifindex,
        operation.address.address,
        operation.address.length,
      );
    case "delete-address":
      return addressKey(operation.link.ifindex, operation.address, operation.length);
    case "put-route":
    case "delete-route":
      return routeKey(operation.route);
    case "put-rule":
    case "delete-rule":
      return ruleKey(operation.rule);
    default:
      return assertNever(operation);
  }
}

const CONNECTED_BASE = 20_000;

/** FRA_PRIORITY of each kind of rule. */
function priorityOf(rule: WantedRule): number {
  switch (rule.kind) {
    case "device":
      return 9000;
    case "main-without-defaults":
      return 9500;
    case "source":
      return 10_000;
    case "source-unreachable":
      return 10_500;
    case "connected":
      return CONNECTED_BASE + rule.metric;
    default:
      return assertNever(rule);
  }
}

/** The rule as ip-rule(8) takes it. */
export function renderRule(rule: WantedRule): string {
  const head = `priority ${priorityOf(rule)}`;
  switch (rule.kind) {
    case "device":
      return `${head} oif ${rule.device} lookup ${rule.table}`;
    case "main-without-defaults":
      return `${head} lookup main suppress_prefixlength 0`;
    case "source":
      return `${head} from ${formatIpv4(rule.from)} lookup ${rule.table}`;
    case "source-unreachable":
      return `${head} from ${formatIpv4(rule.from)} unreachable`;
    case "connected":
      return `${head} to ${formatIpv4Prefix(rule.to)} lookup ${rule.table}`;
    default:
      return assertNever(rule);
  }
}

/** Which of our kinds a kernel rule is; undefined for any other shape. */
export function wantedRuleOf(rule: KernelRule): WantedRule | undefined {
  const candidate = candidateOf(rule);
  if (candidate === undefined || rule.isOpaque || rule.iif !== undefined) return undefined;
  // The candidate was made from a few fields; the others must be as that kind has them.
  return JSON.stringify(toKernelRule(candidate)) === JSON.stringify(shapeOf(rule))
    ? candidate
    : undefined;
}

function candidateOf({ priority, oif, from, to, table }: KernelRule): WantedRule | undefined {
  if (priority === 9000 && oif !== undefined) return { kind: "device", device: oif, table };
  if (priority === 9500) return { kind: "main-without-defaults" };
  if (priority === 10_000 && from !== undefined) {
    return { kind: "source", from: from.network, table };
  }
  if (priority === 10_500 && from !== undefined) {
    return { kind: "source-unreachable", from: from.network };
  }
  if (priority > CONNECTED_BASE && to !== undefined) {
    return { kind: "connected", to, metric: priority - CONNECTED_BASE, table };
  }
  return undefined;
}

/** The fields that tell our kinds of rule apart. */
export type Shape = Pick<
  KernelRule,
  "priority" | "from" | "to" | "oif" | "table" | "action" | "suppressPrefixLength"
>;

function shapeOf(rule: KernelRule): Shape {
  const { priority, from, to, oif, table, action, suppressPrefixLength } = rule;
  return { priority, from, to, oif, table, action, suppressPrefixLength };
}

/** The rule as the kernel shows it, without its mark. */
export function toKernelRule(rule: WantedRule): Shape {
  const host = (address: Ipv4) => networkOf(address, 32 as PrefixLength);
  return {
    priority: priorityOf(rule),
    from: "from" in rule ? host(rule.from) : undefined,
    to: rule.kind === "connected" ? rule.to : undefined,
    oif: rule.kind === "device" ? rule.device : undefined,
    table: rule.kind === "main-without-defaults" ? 254 : "table" in rule ? rule.table : 0,
    action: rule.kind === "source-unreachable" ? "unreachable" : "lookup",
    suppressPrefixLength: rule.kind === "main-without-defaults" ? 0 : undefined,
  };
}
