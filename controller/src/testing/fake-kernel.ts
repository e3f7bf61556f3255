import type { LinkRef } from "../link/index.js";
import {
  KernelModel,
  type KernelNotification,
  type KernelSnapshot,
  MNM_PROTOCOL,
  type Operation,
  operationKey,
  renderOperation,
} from "../reconcile/index.js";
import { makeLink } from "./make.js";

/** The errors of rtnetlink(7) that the tests rely on. */
export class KernelRefusal extends Error {
  override readonly name = "KernelRefusal";
}

/**
 * A kernel behind a helper: performs operations with the checks that make their order matter.
 *
 * A gateway must be reachable: by a connected route in the same table, or, for main, once the
 * device rule leads to one. A preferred source must be an address of the host.
 */
export class FakeKernel {
  readonly model = new KernelModel();
  readonly log: string[] = [];

  constructor(links: readonly number[]) {
    this.model.replace({ links: links.map((n) => makeLink(n)), ...NOTHING });
  }

  run(operations: readonly Operation[]): void {
    for (const operation of operations) {
      this.log.push(renderOperation(operation));
      this.#check(operation);
      this.model.expect([operation]);
      this.model.conclude(operation, true);
    }
  }

  /** Something happens that is not ours to do. A link takes its routes with it, in silence. */
  notice(notification: KernelNotification): void {
    this.model.apply(notification);
    if (notification.kind !== "link-gone") return;
    for (const [key, { ifindex }] of this.model.routes) {
      if (ifindex === notification.ifindex) this.model.routes.delete(key);
    }
  }

  /** The mark-bearing objects, as text, sorted. */
  get ours(): readonly string[] {
    const { addresses, routes, rules } = this.model;
    const all = [...addresses, ...routes, ...rules];
    return all
      .filter(([, { protocol }]) => protocol === MNM_PROTOCOL)
      .map(([key]) => key)
      .toSorted();
  }

  #check(operation: Operation): void {
    if (operation.kind !== "put-route") {
      if (operation.kind.startsWith("delete") && !this.#holds(operationKey(operation))) {
        throw new KernelRefusal(`ESRCH ${renderOperation(operation)}`);
      }
      return;
    }
    const { route } = operation;
    const sources = [...this.model.addresses.values()].map(({ address }) => address);
    if (!sources.includes(route.preferredSource)) {
      throw new KernelRefusal(`EINVAL invalid prefsrc: ${renderOperation(operation)}`);
    }
    if (route.gateway === undefined) return;
    const table = route.table === 254 ? this.#tableOfDevice(route.link) : route.table;
    const isReachable = [...this.model.routes.values()].some(
      (other) =>
        other.table === table &&
        other.gateway === undefined &&
        other.destination.length > 0 &&
        contains(other.destination, route.gateway ?? 0),
    );
    if (!isReachable) {
      throw new KernelRefusal(
        `ENETUNREACH Nexthop has invalid gateway: ${renderOperation(operation)}`,
      );
    }
  }

  #tableOfDevice({ name }: LinkRef): number | undefined {
    return [...this.model.rules.values()].find(({ oif }) => oif === name)?.table;
  }

  #holds(key: string): boolean {
    const { addresses, routes, rules } = this.model;
    return addresses.has(key) || routes.has(key) || rules.has(key);
  }
}

const NOTHING: Omit<KernelSnapshot, "links"> = {
  addresses: [],
  routes: [],
  rules: [],
  rpFilterAll: 0,
};

function contains(
  { network, length }: { network: number; length: number },
  address: number,
): boolean {
  const mask = length === 0 ? 0 : (-1 << (32 - length)) >>> 0;
  return (address & mask) >>> 0 === network;
}
