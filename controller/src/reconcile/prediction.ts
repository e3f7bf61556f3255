import { assertNever, type Ifindex } from "@mnm/proto/net";
import type { Link } from "../link/index.js";
import type { WantedAddress, WantedRoute, WantedRule } from "../plan/index.js";
import { addressKey, type ObjectKey, operationKey, routeKey, toKernelRule } from "./keys.js";
import type { Operation } from "./operation.js";
import { type KernelAddress, type KernelRoute, type KernelRule, MNM_PROTOCOL } from "./snapshot.js";

/** The part of the model that an operation changes. */
export interface MutableKernel {
  readonly links: Map<Ifindex, Link>;
  readonly addresses: Map<ObjectKey, KernelAddress>;
  readonly routes: Map<ObjectKey, KernelRoute>;
  readonly rules: Map<ObjectKey, KernelRule>;
}

const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;

/** Changes the model as the kernel changes when it performs the operation. */
export function predict(operation: Operation, kernel: MutableKernel): void {
  switch (operation.kind) {
    case "put-settings": {
      const link = kernel.links.get(operation.link.ifindex);
      if (link === undefined) return;
      const settings = { ...link.settings, ...operation.settings };
      // Whether it came up is the kernel's to say; carrier and operstate come with it.
      kernel.links.set(link.ifindex, { ...link, settings });
      return;
    }
    case "put-address": {
      const { address } = operation;
      const key = addressKey(address.link.ifindex, address.address, address.length);
      kernel.addresses.set(key, kernelAddressOf(address));
      return;
    }
    case "put-route":
      kernel.routes.set(routeKey(operation.route), kernelRouteOf(operation.route));
      return;
    case "put-rule":
      kernel.rules.set(operationKey(operation), kernelRuleOf(operation.rule));
      return;
    case "delete-address":
      kernel.addresses.delete(operationKey(operation));
      return;
    case "delete-route":
      kernel.routes.delete(operationKey(operation));
      return;
    case "delete-rule":
      kernel.rules.delete(operationKey(operation));
      return;
    default:
      assertNever(operation);
  }
}

function kernelAddressOf({
  link,
  address,
  length,
  broadcast,
  expiry,
}: WantedAddress): KernelAddress {
  return {
    ifindex: link.ifindex,
    address,
    length,
    peer: undefined,
    broadcast,
    protocol: MNM_PROTOCOL,
    noprefixroute: true,
    scope: RT_SCOPE_UNIVERSE,
    expiry,
  };
}

function kernelRouteOf(route: WantedRoute): KernelRoute {
  return {
    table: route.table,
    type: "unicast",
    destination: route.destination,
    metric: route.metric,
    tos: 0,
    scope: route.gateway === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
    protocol: MNM_PROTOCOL,
    ifindex: route.link.ifindex,
    gateway: route.gateway,
    preferredSource: route.preferredSource,
    mtu: route.mtu,
    onlink: false,
  };
}

function kernelRuleOf(rule: WantedRule): KernelRule {
  return { ...toKernelRule(rule), iif: undefined, protocol: MNM_PROTOCOL, isOpaque: false };
}
