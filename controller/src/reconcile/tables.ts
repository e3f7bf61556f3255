/**
 * The kernel's objects by key, with what must not be searched for among thousands: which of them
 * changed since one last asked, the addresses and routes of one link, the defaults in main.
 */
import type { Ifindex } from "@mnm/proto/net";
import type { Link } from "../link/index.js";
import { type ObjectKey, settingsKey } from "./keys.js";
import { type KernelAddress, type KernelRoute, MAIN_TABLE } from "./snapshot.js";

/** What has been written to since one last asked. */
export class Touched {
  readonly keys = new Set<ObjectKey>();
  /** Links that changed, or an address of theirs did. */
  readonly links = new Set<Ifindex>();
}

/** A map that tells which keys were written to. */
export class Table<V> extends Map<ObjectKey, V> {
  readonly #touched: Set<ObjectKey>;

  constructor({ keys }: Touched) {
    super();
    this.#touched = keys;
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
  readonly #touched: Touched;
  /** Grows with every change of any link. */
  version = 0;

  constructor(touched: Touched) {
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
    this.#touched.keys.add(settingsKey(ifindex));
    this.#touched.links.add(ifindex);
  }
}

const NONE: readonly KernelAddress[] = [];

export class AddressTable extends Table<KernelAddress> {
  readonly #touchedLinks: Set<Ifindex>;
  readonly #byLink = new Map<Ifindex, readonly KernelAddress[]>();

  constructor(touched: Touched) {
    super(touched);
    this.#touchedLinks = touched.links;
  }

  /** The addresses of a link; the same array until one of them changes. */
  of(ifindex: Ifindex): readonly KernelAddress[] {
    return this.#byLink.get(ifindex) ?? NONE;
  }

  override set(key: ObjectKey, value: KernelAddress): this {
    this.#remove(key);
    this.#touchedLinks.add(value.ifindex);
    this.#byLink.set(value.ifindex, [...this.of(value.ifindex), value]);
    return super.set(key, value);
  }

  override delete(key: ObjectKey): boolean {
    this.#remove(key);
    return super.delete(key);
  }

  override clear(): void {
    for (const ifindex of this.#byLink.keys()) this.#touchedLinks.add(ifindex);
    this.#byLink.clear();
    super.clear();
  }

  #remove(key: ObjectKey): void {
    const existing = this.get(key);
    if (existing === undefined) return;
    this.#touchedLinks.add(existing.ifindex);
    const others = this.of(existing.ifindex).filter((address) => address !== existing);
    if (others.length === 0) this.#byLink.delete(existing.ifindex);
    else this.#byLink.set(existing.ifindex, others);
  }
}

const NO_ROUTES: ReadonlySet<KernelRoute> = new Set();

export class RouteTable extends Table<KernelRoute> {
  readonly #mainDefaults = new Map<ObjectKey, KernelRoute>();
  /** Undefined when they have to be sorted again. */
  #sortedDefaults: readonly KernelRoute[] | undefined;
  readonly #byLink = new Map<Ifindex, Set<KernelRoute>>();

  /**
   * The routes to everywhere in main, whoever put them there, lowest metric first; the same array
   * until one of them changes.
   */
  get mainDefaults(): readonly KernelRoute[] {
    this.#sortedDefaults ??= [...this.#mainDefaults.values()].toSorted(
      (a, b) => a.metric - b.metric,
    );
    return this.#sortedDefaults;
  }

  /** The routes that leave by a link. */
  via(ifindex: Ifindex): ReadonlySet<KernelRoute> {
    return this.#byLink.get(ifindex) ?? NO_ROUTES;
  }

  override set(key: ObjectKey, route: KernelRoute): this {
    this.#remove(key);
    if (route.table === MAIN_TABLE && route.destination.length === 0) {
      this.#mainDefaults.set(key, route);
      this.#sortedDefaults = undefined;
    }
    this.#addVia(route);
    return super.set(key, route);
  }

  override delete(key: ObjectKey): boolean {
    this.#remove(key);
    return super.delete(key);
  }

  override clear(): void {
    this.#mainDefaults.clear();
    this.#sortedDefaults = undefined;
    this.#byLink.clear();
    super.clear();
  }

  #addVia(route: KernelRoute): void {
    const { ifindex } = route;
    if (ifindex === undefined) return;
    const others = this.#byLink.get(ifindex);
    if (others === undefined) this.#byLink.set(ifindex, new Set([route]));
    else others.add(route);
  }

  #remove(key: ObjectKey): void {
    const route = this.get(key);
    if (route === undefined) return;
    if (this.#mainDefaults.delete(key)) this.#sortedDefaults = undefined;
    if (route.ifindex === undefined) return;
    const others = this.#byLink.get(route.ifindex);
    others?.delete(route);
    if (others?.size === 0) this.#byLink.delete(route.ifindex);
  }
}
