/**
 * The kernel as it was last heard of: a snapshot, moved on by notifications and by the helper's
 * answers.
 *
 * Linux does not announce everything: IPv4 routes that go because a link went down, or because
 * their preferred source was deleted, go silently. The model knows when that may have happened
 * ({@link KernelModel.routesAreStale}) and asks for the routes again rather than guess.
 */
import { assertNever, type Ifindex } from "@mnm/proto/net";
import type { Link } from "../link/index.js";
import type { KernelView } from "./diff.js";
import {
  addressKey,
  kernelRuleKey,
  type ObjectKey,
  operationKey,
  routeKey,
  settingsKey,
} from "./keys.js";
import type { Operation } from "./operation.js";
import { predict } from "./prediction.js";
import {
  type KernelAddress,
  type KernelNotification,
  type KernelRoute,
  type KernelRule,
  type KernelSnapshot,
  MNM_PROTOCOL,
} from "./snapshot.js";
import { AddressTable, LinkTable, RouteTable, Table, Touched } from "./tables.js";

/** What a change of the model means to those who watch links and addresses. */
export type ModelChange =
  | { readonly kind: "link-added" | "link-removed"; readonly link: Link }
  | { readonly kind: "link-changed"; readonly before: Link; readonly link: Link }
  | { readonly kind: "address-added" | "address-removed"; readonly address: KernelAddress }
  /** Another program's object is gone from a place that may be wanted. */
  | { readonly kind: "freed"; readonly key: ObjectKey }
  /**
   * An object of ours was removed or changed, and no operation of ours was under way on it. A link's
   * settings count as ours whoever set them: who wants them knows.
   */
  | { readonly kind: "disturbed"; readonly key: ObjectKey; readonly requester?: number };

interface Owned {
  readonly protocol: number;
}

export class KernelModel implements KernelView {
  readonly #touched = new Touched();
  readonly links = new LinkTable(this.#touched);
  readonly addresses = new AddressTable(this.#touched);
  readonly routes = new RouteTable(this.#touched);
  readonly rules = new Table<KernelRule>(this.#touched);
  rpFilterAll = 0;
  routesAreStale = false;
  /**
   * How many operations were sent for a key and neither answered nor seen in a notification. An
   * exchange of metrics puts a route and deletes it in one batch.
   */
  readonly #expected = new Map<ObjectKey, number>();
  /** Those that were under way when everything was read: nobody knows whether that was before or after. */
  readonly #straddling = new Set<ObjectKey>();

  apply(notification: KernelNotification): readonly ModelChange[] {
    const { requester } = notification;
    const changes = this.#apply(notification);
    if (requester === undefined) return changes;
    return changes.map((change) =>
      change.kind === "disturbed" ? { ...change, requester } : change,
    );
  }

  #apply(notification: KernelNotification): readonly ModelChange[] {
    switch (notification.kind) {
      case "link":
        return this.#putLink(notification.link);
      case "link-gone":
        return this.#removeLink(notification.ifindex);
      case "address":
        return this.#putAddress(notification.address);
      case "address-gone":
        return this.#removeAddress(notification.address);
      case "route":
        return this.#putRoute(notification.route);
      case "route-gone":
        return this.#removeRoute(notification.route);
      case "rule":
        return this.#put(this.rules, kernelRuleKey(notification.rule), notification.rule);
      case "rule-gone":
        return this.#remove(this.rules, kernelRuleKey(notification.rule), notification.rule);
      default:
        return assertNever(notification);
    }
  }

  /** Takes a complete dump as the truth. */
  replace(snapshot: KernelSnapshot): readonly ModelChange[] {
    const changes: ModelChange[] = [];
    const present = new Set(snapshot.links.map(({ ifindex }) => ifindex));
    for (const ifindex of [...this.links.keys()]) {
      if (!present.has(ifindex)) changes.push(...this.#removeLink(ifindex));
    }
    for (const link of snapshot.links) changes.push(...this.#putLink(link));
    changes.push(...this.#replaceAddresses(snapshot.addresses));
    changes.push(...this.#replaceAll(this.rules, snapshot.rules, kernelRuleKey));
    changes.push(...this.replaceRoutes(snapshot.routes));
    this.rpFilterAll = snapshot.rpFilterAll;
    for (const key of this.#expected.keys()) this.#straddling.add(key);
    this.#expected.clear();
    return changes;
  }

  /** Takes a complete dump of the routes as the truth. */
  replaceRoutes(routes: readonly KernelRoute[]): readonly ModelChange[] {
    this.routesAreStale = false;
    return this.#replaceAll(this.routes, routes, (route) => routeKey(route, route.tos));
  }

  /** The keys of objects that may have changed since this was last asked; links by their settings. */
  takeTouched(): readonly ObjectKey[] {
    const touched = [...this.#touched.keys];
    this.#touched.keys.clear();
    return touched;
  }

  /** The links that changed since this was last asked, or an address of which did. */
  takeTouchedLinks(): readonly Ifindex[] {
    const touched = [...this.#touched.links];
    this.#touched.links.clear();
    return touched;
  }

  /** Says that these operations are under way. */
  expect(operations: readonly Operation[]): void {
    this.#straddling.clear();
    for (const operation of operations) {
      const key = operationKey(operation);
      this.#expected.set(key, (this.#expected.get(key) ?? 0) + 1);
    }
  }

  /**
   * Says how an operation ended. One that was done and has not shown in a notification yet is
   * believed: the helper's answer may overtake the multicast.
   */
  conclude(operation: Operation, isDone: boolean): readonly ModelChange[] {
    const key = operationKey(operation);
    const isUnseen = this.#tick(key);
    if (!isDone || !isUnseen) return [];
    const before = this.addresses.get(key);
    if (operation.kind === "put-settings") return this.#predictLink(operation);
    predict(operation, this);
    const after = this.addresses.get(key);
    if (before === undefined && after !== undefined) {
      return [{ kind: "address-added", address: after }];
    }
    return before !== undefined && after === undefined
      ? [{ kind: "address-removed", address: before }]
      : [];
  }

  #predictLink(operation: Operation & { kind: "put-settings" }): readonly ModelChange[] {
    const { ifindex } = operation.link;
    const before = this.links.get(ifindex);
    predict(operation, this);
    const link = this.links.get(ifindex);
    return before === undefined || link === undefined
      ? []
      : [{ kind: "link-changed", before, link }];
  }

  #putLink(link: Link): readonly ModelChange[] {
    const before = this.links.get(link.ifindex);
    // The same object for the same link, so that whoever compares objects sees no change.
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(link)) return [];
    if (before !== undefined && isAnother(before, link)) {
      return [...this.#removeLink(link.ifindex), ...this.#putLink(link)];
    }
    this.links.set(link.ifindex, link);
    if (before === undefined) return [{ kind: "link-added", link }];
    // Its routes are flushed without a notification (fib_disable_ip in net/ipv4/fib_frontend.c).
    if (before.adminUp && !link.adminUp) this.#markStaleVia(link.ifindex);
    const key = settingsKey(link.ifindex);
    const isSet = JSON.stringify(before.settings) !== JSON.stringify(link.settings);
    // Other changes of the link may come in between: they are no answer to what is expected.
    const isOurDoing = (isSet || before.adminUp !== link.adminUp) && this.#see(key);
    const change = { kind: "link-changed", before, link } as const;
    return isSet && !isOurDoing ? [change, { kind: "disturbed", key }] : [change];
  }

  #removeLink(ifindex: Ifindex): readonly ModelChange[] {
    const link = this.links.get(ifindex);
    if (link === undefined) return [];
    this.#markStaleVia(ifindex);
    const orphans = this.addresses.of(ifindex);
    const changes = orphans.flatMap((address) => this.#dropAddress(address));
    this.links.delete(ifindex);
    return [...changes, { kind: "link-removed", link }];
  }

  #putAddress(address: KernelAddress): readonly ModelChange[] {
    const key = keyOfAddress(address);
    const isNew = !this.addresses.has(key);
    const changes = this.#put(this.addresses, key, address);
    return isNew ? [...changes, { kind: "address-added", address }] : changes;
  }

  #removeAddress(address: KernelAddress): readonly ModelChange[] {
    const key = keyOfAddress(address);
    const isUnexpected = !this.#see(key) && this.addresses.get(key) !== undefined;
    const changes = this.#dropAddress(address);
    return isUnexpected && address.protocol === MNM_PROTOCOL
      ? [...changes, { kind: "disturbed", key }]
      : changes;
  }

  #dropAddress(address: KernelAddress): readonly ModelChange[] {
    if (!this.addresses.delete(keyOfAddress(address))) return [];
    // fib_sync_down_addr takes the routes that prefer this source, and the last address of a link
    // takes all of its routes (fib_inetaddr_event).
    const { ifindex } = address;
    if (this.addresses.of(ifindex).length === 0) this.#markStaleVia(ifindex);
    else this.#markStaleVia(ifindex, ({ preferredSource }) => preferredSource === address.address);
    return [{ kind: "address-removed", address }];
  }

  #replaceAddresses(addresses: readonly KernelAddress[]): readonly ModelChange[] {
    const changes: ModelChange[] = [];
    const present = new Set(addresses.map(keyOfAddress));
    for (const address of [...this.addresses.values()]) {
      if (!present.has(keyOfAddress(address))) changes.push(...this.#removeAddress(address));
    }
    for (const address of addresses) changes.push(...this.#putAddress(address));
    return changes;
  }

  #putRoute(route: KernelRoute): readonly ModelChange[] {
    const key = routeKey(route, route.tos);
    const existing = this.routes.get(key);
    // Another program's route of the same key may stand beside ours (NLM_F_APPEND) or in its
    // place (NLM_F_REPLACE); the notification does not say which.
    if (existing?.protocol === MNM_PROTOCOL && route.protocol !== MNM_PROTOCOL) {
      this.routesAreStale = true;
    }
    return this.#put(this.routes, key, route);
  }

  #removeRoute(route: KernelRoute): readonly ModelChange[] {
    const key = routeKey(route, route.tos);
    const existing = this.routes.get(key);
    if (existing !== undefined && existing.protocol !== route.protocol) return [];
    return this.#remove(this.routes, key, route);
  }

  #put<T extends Owned>(map: Map<ObjectKey, T>, key: ObjectKey, value: T): readonly ModelChange[] {
    const before = map.get(key);
    map.set(key, value);
    const isOurDoing = this.#see(key);
    return before?.protocol === MNM_PROTOCOL && !isOurDoing && !isSame(before, value)
      ? [{ kind: "disturbed", key }]
      : [];
  }

  #remove<T extends Owned>(
    map: Map<ObjectKey, T>,
    key: ObjectKey,
    { protocol }: Owned,
  ): readonly ModelChange[] {
    const existing = map.get(key);
    if (existing === undefined || existing.protocol !== protocol) return [];
    map.delete(key);
    const isOurDoing = this.#see(key);
    if (protocol !== MNM_PROTOCOL) return [{ kind: "freed", key }];
    return isOurDoing ? [] : [{ kind: "disturbed", key }];
  }

  #replaceAll<T extends Owned>(
    map: Map<ObjectKey, T>,
    values: readonly T[],
    keyOf: (value: T) => ObjectKey,
  ): readonly ModelChange[] {
    const before = new Map(map);
    map.clear();
    for (const value of values) {
      const key = keyOf(value);
      // Ours and another program's may share a key; the one that matters to the diff is ours.
      if (map.get(key)?.protocol !== MNM_PROTOCOL) map.set(key, value);
    }
    return [...before].flatMap(([key, old]): readonly ModelChange[] => {
      const now = map.get(key);
      if (old.protocol !== MNM_PROTOCOL && now === undefined) return [{ kind: "freed", key }];
      const isIntact = old.protocol !== MNM_PROTOCOL || (now !== undefined && isSame(old, now));
      return isIntact || this.#isUnderWay(key) ? [] : [{ kind: "disturbed", key }];
    });
  }

  /** A notification came: is it of an operation of ours? */
  #see(key: ObjectKey): boolean {
    const isStraddling = this.#straddling.delete(key);
    return this.#tick(key) || isStraddling;
  }

  /** Counts one operation off; answers whether one was expected. */
  #tick(key: ObjectKey): boolean {
    const count = this.#expected.get(key);
    if (count === undefined) return false;
    if (count === 1) this.#expected.delete(key);
    else this.#expected.set(key, count - 1);
    return true;
  }

  #isUnderWay(key: ObjectKey): boolean {
    return this.#expected.has(key) || this.#straddling.has(key);
  }

  /** @param mayGo of the routes that leave by the link: whether the kernel may have taken it */
  #markStaleVia(ifindex: Ifindex, mayGo: (route: KernelRoute) => boolean = () => true): void {
    this.routesAreStale ||= [...this.routes.via(ifindex)].some(mayGo);
  }
}

/**
 * Whether the link has only the ifindex of the one before: that it went was lost in an overrun. What
 * was that one's must not go over to it. A name may change, and so may a MAC; a link of which both
 * did between two looks is another one, and if it is not after all, it loses no more than a moment.
 */
function isAnother(before: Link, link: Link): boolean {
  const isRenamed = before.name !== link.name;
  const isElsewhere =
    before.infoKind !== link.infoKind ||
    before.parentDevice !== link.parentDevice ||
    before.permanentMac !== link.permanentMac;
  return isElsewhere || (isRenamed && before.mac !== link.mac);
}

function keyOfAddress({ ifindex, address, length }: KernelAddress): ObjectKey {
  return addressKey(ifindex, address, length);
}

/** Whether it was merely announced again. Lifetimes move by themselves and are compared elsewhere. */
function isSame<T extends Owned>(a: T, b: T): boolean {
  return JSON.stringify({ ...a, expiry: 0 }) === JSON.stringify({ ...b, expiry: 0 });
}
