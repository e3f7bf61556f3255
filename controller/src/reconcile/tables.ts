/**
 * The kernel's objects by key, with what must not be searched for among thousands: which of them
 * changed since one last asked, the addresses of one link, the defaults in main.
 */
import type { Ifindex } from "@mnm/proto/net";
import type { Link } from "../link/index.js";
import { type ObjectKey, settingsKey } from "./keys.js";
import { type KernelAddress, type KernelRoute, MAIN_TABLE } from "./snapshot.js";

/** A map that tells which keys were written to. */
export class Table<V> extends Map<ObjectKey, V> {
  readonly #touched: Set<ObjectKey>;

  /** @param touched where the keys go that are written to */
  constructor(touched: Set<ObjectKey>) {
    super();
    this.#touched = touched;
  }

  override set(key: ObjectKey, value: V): this {
    this.#touched.add(key);
    return super.set(key, value);
  }

  override delete(key: ObjectKey): boolean {
    this.#touched.add(key);
    return super.delete(key);
  }

  override clear(): void {
    for (const key of this.keys()) this.#touched.add(key);
    super.clear();
  }
}

/** Links by number. What is compared of them is their settings. */
export class LinkTable extends Map<Ifindex, Link> {
  readonly #touched: Set<ObjectKey>;
  /** Grows with every change of any link. */
  version = 0;

  /** @param touched where the keys of settings go that may have changed */
  constructor(touched: Set<ObjectKey>) {
    super();
    this.#touched = touched;
  }

  override set(ifindex: Ifindex, link: Link): this {
    this.#note(ifindex);
    return super.set(ifindex, link);
  }

  override delete(ifindex: Ifindex): boolean {
    this.#note(ifindex);
    return super.delete(ifindex);
  }

  #note(ifindex: Ifindex): void {
    this.version += 1;
    this.#touched.add(settingsKey(ifindex));
  }
}

const NONE: readonly KernelAddress[] = [];

export class AddressTable extends Table<KernelAddress> {
  /** Grows with every change of any address. */
  version = 0;
  readonly #byLink = new Map<Ifindex, readonly KernelAddress[]>();

  /** The addresses of a link; the same array until one of them changes. */
  of(ifindex: Ifindex): readonly KernelAddress[] {
    return this.#byLink.get(ifindex) ?? NONE;
  }

  override set(key: ObjectKey, value: KernelAddress): this {
    this.version += 1;
    this.#remove(key);
    this.#byLink.set(value.ifindex, [...this.of(value.ifindex), value]);
    return super.set(key, value);
  }

  override delete(key: ObjectKey): boolean {
    this.version += 1;
    this.#remove(key);
    return super.delete(key);
  }

  override clear(): void {
    this.version += 1;
    this.#byLink.clear();
    super.clear();
  }

  #remove(key: ObjectKey): void {
    const existing = this.get(key);
    if (existing === undefined) return;
    const others = this.of(existing.ifindex).filter((address) => address !== existing);
    if (others.length === 0) this.#byLink.delete(existing.ifindex);
    else this.#byLink.set(existing.ifindex, others);
  }
}

export class RouteTable extends Table<KernelRoute> {
  readonly #mainDefaults = new Map<ObjectKey, KernelRoute>();

  /** The routes to everywhere in main, whoever put them there. */
  get mainDefaults(): Iterable<KernelRoute> {
    return this.#mainDefaults.values();
  }

  override set(key: ObjectKey, route: KernelRoute): this {
    if (route.table === MAIN_TABLE && route.destination.length === 0) {
      this.#mainDefaults.set(key, route);
    }
    return super.set(key, route);
  }

  override delete(key: ObjectKey): boolean {
    this.#mainDefaults.delete(key);
    return super.delete(key);
  }

  override clear(): void {
    this.#mainDefaults.clear();
    super.clear();
  }
}
