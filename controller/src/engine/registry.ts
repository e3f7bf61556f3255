import type { Ifindex } from "@mnm/proto/net";
import type { Config, LinkEntry } from "../config/index.js";
import { type Link, linkKindOf } from "../link/index.js";
import type { KernelRoute } from "../reconcile/index.js";
import {
  assignMetrics,
  freeSlot,
  type IdentityRecord,
  type Intent,
  identityOf,
  intentOf,
  type MetricClaim,
  type PersistentState,
  type SettingsRecord,
  TABLE_BASE,
} from "../uplink/index.js";
import { ManagedLink } from "./managed-link.js";
import { foreignMetrics } from "./metric-change.js";
import type { Outbox } from "./outbox.js";

/**
 * Which links are managed, and what is kept for each identity: slot, metric, settings as found.
 * What must outlive us is handed to the disk whenever it changed ({@link Registry.takeChanges}).
 */
export class Registry {
  readonly #managed = new Map<Ifindex, ManagedLink>();
  readonly #byIdentity = new Map<string, ManagedLink>();
  /** Set by `set-metric` until the next restart or reload. */
  readonly runtimeMetrics = new Map<string, number>();
  readonly identities: Map<string, IdentityRecord>;
  readonly settingsFound: Map<string, SettingsRecord>;
  readonly #leftovers: Set<string>;
  /** Released links that are not here now: they are when they come back. */
  readonly #releasedAway = new Set<string>();
  #isDirty = false;
  #clock: number;
  #version = 0;
  /** What the metrics in force were assigned from. */
  #assigned:
    | {
        readonly version: number;
        readonly config: Config;
        readonly defaults: readonly KernelRoute[];
        readonly foreign: string;
      }
    | undefined;

  constructor(state: PersistentState) {
    this.identities = new Map(state.identities);
    this.settingsFound = new Map(state.settingsFound);
    this.#leftovers = new Set(state.settingsFound.keys());
    this.#clock = Math.max(0, ...[...state.identities.values()].map(({ usedAt }) => usedAt));
  }

  get managed(): ReadonlyMap<Ifindex, ManagedLink> {
    return this.#managed;
  }

  /** Identities of which settings were found, and that no managed link has. */
  get leftovers(): ReadonlySet<string> {
    return this.#leftovers;
  }

  /** What has to be written to disk, when something changed since it was last taken. */
  takeChanges(): PersistentState | undefined {
    if (!this.#isDirty) return undefined;
    this.#isDirty = false;
    return { identities: this.identities, settingsFound: this.settingsFound };
  }

  byName(name: string): ManagedLink | undefined {
    return [...this.managed.values()].find((managed) => managed.name === name);
  }

  byIdentity(identity: string): ManagedLink | undefined {
    return this.#byIdentity.get(identity);
  }

  /** Applies the configuration to one link; answers what is no longer managed because of it. */
  select(link: Link, config: Config, outbox: Outbox): ManagedLink | undefined {
    const intent = intentOf(link, config);
    const managed = this.managed.get(link.ifindex);
    if (intent.kind === "ignored") {
      if (managed !== undefined) this.#drop(managed);
      return managed;
    }
    if (managed === undefined) {
      this.#adopt(link, intent, outbox);
      return undefined;
    }
    const isOtherMatch = !isSameMatch(managed.entry, intent.entry);
    const isRenamed = managed.link.name !== link.name;
    const isOtherKind = linkKindOf(managed.link) !== linkKindOf(link);
    if (isOtherKind || managed.entry !== intent.entry) this.#version += 1;
    managed.link = link;
    managed.entry = intent.entry;
    if (managed.method.kind !== intent.method.kind) {
      // Another way to get an address is another life: begin it from the start.
      this.#drop(managed);
      this.#adopt(link, intent, outbox);
      return managed;
    }
    managed.method = intent.method;
    if (isOtherMatch || isRenamed) this.#reidentify(managed, outbox);
    return undefined;
  }

  remove(ifindex: Ifindex): ManagedLink | undefined {
    const managed = this.managed.get(ifindex);
    if (managed !== undefined) this.#drop(managed);
    if (managed?.isReleased) this.#releasedAway.add(managed.identity);
    return managed;
  }

  /**
   * Gives every managed link its metric; answers those that have another one than before.
   *
   * @param defaults everybody's in main; the same array until one of them changes
   */
  assignMetrics(config: Config, defaults: readonly KernelRoute[]): readonly Ifindex[] {
    const last = this.#assigned;
    const isSame = last?.version === this.#version && last.config === config;
    if (isSame && last.defaults === defaults) return [];
    const foreign = foreignMetrics(defaults);
    const basis = { version: this.#version, config, defaults, foreign: [...foreign].join() };
    this.#assigned = basis;
    return isSame && last.foreign === basis.foreign ? [] : this.#reassign(config, foreign);
  }

  #reassign(config: Config, foreign: ReadonlySet<number>): readonly Ifindex[] {
    const changed: Ifindex[] = [];
    const claims = [...this.managed.values()].map((managed) => this.#claimOf(managed));
    const assigned = assignMetrics(claims, {
      foreign,
      absent: this.#metricsOfAbsentLinks(config),
    });
    for (const managed of this.managed.values()) {
      const metric = assigned.get(managed.identity);
      const { value, source } = managed.metric ?? {};
      if (value !== metric?.value || source !== metric?.source) {
        managed.metric = metric;
        changed.push(managed.ifindex);
      }
      if (managed.metric?.source !== "automatic") continue;
      const own = this.identities.get(managed.identity)?.automaticMetric;
      // Another program's default may be there for a moment only, as one that a DHCP client puts in and
      // out; the order of the uplinks must not be another one for ever.
      if (own !== undefined && foreign.has(own)) continue;
      this.#amend(managed.identity, { automaticMetric: managed.metric.value });
    }
    return changed;
  }

  /** Who has a metric, or will have it when it returns: a link's name, or an identity. */
  holderOf(
    metric: number,
    config: Config,
  ): { readonly managed?: ManagedLink; readonly name: string } | undefined {
    for (const managed of this.managed.values()) {
      if (managed.metric?.value === metric) return { managed, name: managed.name };
    }
    const entry = config.links.find((candidate) => candidate.metric === metric);
    if (entry !== undefined && !this.#isEntryPresent(entry.label)) return { name: entry.label };
    const absent = [...this.identities].find(
      ([identity, record]) =>
        record.persistedMetric === metric && this.byIdentity(identity) === undefined,
    );
    return absent === undefined ? undefined : { name: absent[0] };
  }

  /**
   * Who else has this metric for when what was set at run time is dropped: persisted, or configured
   * and hidden for now. Two of them would leave one without, at the next start and without a word.
   */
  claimantOf(metric: number, except: readonly (string | undefined)[]): string | undefined {
    const persisted = [...this.identities].find(
      ([identity, record]) => record.persistedMetric === metric && !except.includes(identity),
    );
    if (persisted !== undefined) return this.byIdentity(persisted[0])?.name ?? persisted[0];
    return [...this.managed.values()].find(
      ({ identity, entry }) => entry?.metric === metric && !except.includes(identity),
    )?.name;
  }

  /**
   * Drops what operators set until the next reload: releases, and metrics, of which it answers a
   * sentence each.
   */
  dropRuntime(): readonly string[] {
    const dropped = [...this.runtimeMetrics].map(([identity, metric]) => {
      const name = this.byIdentity(identity)?.name ?? identity;
      return `metric ${metric} of ${name} was set at run time and is dropped`;
    });
    this.runtimeMetrics.clear();
    this.#version += 1;
    this.#releasedAway.clear();
    for (const managed of this.managed.values()) {
      if (managed.isReleased) managed.farewell = "none";
    }
    return dropped;
  }

  setMetric(identity: string, metric: number, persist: boolean): void {
    this.#version += 1;
    if (persist) {
      this.runtimeMetrics.delete(identity);
      this.#amend(identity, { persistedMetric: metric });
    } else {
      this.runtimeMetrics.set(identity, metric);
    }
  }

  /** Remembers settings as they were, or forgets them once they are back. */
  recordSettings(identity: string, record: SettingsRecord | undefined): void {
    if (record === undefined) this.settingsFound.delete(identity);
    else this.settingsFound.set(identity, record);
    this.#noteLeftover(identity);
    this.#isDirty = true;
  }

  #noteLeftover(identity: string): void {
    const isLeft = this.settingsFound.has(identity) && !this.#byIdentity.has(identity);
    if (isLeft) this.#leftovers.add(identity);
    else this.#leftovers.delete(identity);
  }

  #adopt(link: Link, intent: Intent & { kind: "managed" }, outbox: Outbox): void {
    const identity = identityOf(
      link,
      intent.entry,
      (taken) => this.byIdentity(taken) !== undefined,
    );
    const slot = this.#slotOf(identity);
    if (slot === undefined) {
      outbox.log("error", "No routing table is free for this link", { link: link.name });
      return;
    }
    const { method, entry } = intent;
    const table = TABLE_BASE + slot;
    const managed = new ManagedLink(outbox.now, { identity, link, method, entry, table });
    if (this.#releasedAway.delete(identity)) managed.farewell = "released";
    this.#managed.set(link.ifindex, managed);
    this.#take(identity, managed);
    this.#version += 1;
    outbox.log("info", "Managing link", { link: link.name, identity, table, method: method.kind });
  }

  #slotOf(identity: string): number | undefined {
    const known = this.identities.get(identity);
    const found =
      known === undefined
        ? freeSlot(this.identities, (other) => this.byIdentity(other) !== undefined)
        : { slot: known.slot, evicted: undefined };
    if (found === undefined) return undefined;
    if (found.evicted !== undefined) this.identities.delete(found.evicted);
    this.#clock += 1;
    const blank = { automaticMetric: undefined, persistedMetric: undefined };
    this.identities.set(identity, { ...blank, ...known, slot: found.slot, usedAt: this.#clock });
    this.#isDirty = true;
    return found.slot;
  }

  /**
   * After a rename, or another `match` in the configuration, a link keeps table, metric and lease
   * under its new identity, unless MNM knows that one already: then it takes that one's.
   */
  #reidentify(managed: ManagedLink, outbox: Outbox): void {
    const old = managed.identity;
    const isTaken = (identity: string): boolean => {
      const holder = this.byIdentity(identity);
      return holder !== undefined && holder !== managed;
    };
    const identity = identityOf(managed.link, managed.entry, isTaken);
    if (identity === old) {
      this.#take(identity, managed);
      return;
    }
    const known = this.identities.get(identity);
    if (known === undefined) {
      const record = this.identities.get(old);
      if (record !== undefined) this.identities.set(identity, record);
      this.identities.delete(old);
      this.#moveKey(this.runtimeMetrics, old, identity);
      outbox.push({ kind: "forget-lease", identity: old });
    } else {
      managed.table = TABLE_BASE + known.slot;
    }
    // They are of this very link, whatever it is called.
    this.#moveKey(this.settingsFound, old, identity);
    this.#noteLeftover(old);
    this.vacate(managed);
    managed.identity = identity;
    this.#take(identity, managed);
    this.#version += 1;
    this.#isDirty = true;
  }

  /** Lets others have the link's identity: of two that exchange their names, one is first. */
  vacate({ identity, ifindex }: ManagedLink): void {
    if (this.#byIdentity.get(identity)?.ifindex !== ifindex) return;
    this.#byIdentity.delete(identity);
    this.#noteLeftover(identity);
  }

  #take(identity: string, managed: ManagedLink): void {
    this.#byIdentity.set(identity, managed);
    this.#noteLeftover(identity);
  }

  #drop(managed: ManagedLink): void {
    this.#managed.delete(managed.ifindex);
    this.vacate(managed);
    this.#version += 1;
  }

  #moveKey<T>(map: Map<string, T>, from: string, to: string): void {
    const value = map.get(from);
    map.delete(from);
    if (value !== undefined) map.set(to, value);
  }

  #claimOf({ identity, link, entry }: ManagedLink): MetricClaim {
    const record = this.identities.get(identity);
    return {
      identity,
      kind: linkKindOf(link),
      runtime: this.runtimeMetrics.get(identity),
      persisted: record?.persistedMetric,
      configured: entry?.metric,
      automatic: record?.automaticMetric,
    };
  }

  #metricsOfAbsentLinks(config: Config): ReadonlySet<number> {
    const reserved = new Set<number>();
    for (const { label, metric } of config.links) {
      if (metric !== undefined && !this.#isEntryPresent(label)) reserved.add(metric);
    }
    const present = new Set([...this.managed.values()].map(({ identity }) => identity));
    for (const [identity, record] of this.identities) {
      if (present.has(identity)) continue;
      if (record.persistedMetric !== undefined) reserved.add(record.persistedMetric);
      if (record.automaticMetric !== undefined) reserved.add(record.automaticMetric);
    }
    return reserved;
  }

  #isEntryPresent(label: string): boolean {
    return [...this.managed.values()].some(({ entry }) => entry?.label === label);
  }

  #amend(identity: string, change: Partial<IdentityRecord>): void {
    const record = this.identities.get(identity);
    if (record === undefined) return;
    const names = Object.keys(change) as (keyof IdentityRecord)[];
    if (names.every((name) => record[name] === change[name])) return;
    this.identities.set(identity, { ...record, ...change });
    this.#version += 1;
    this.#isDirty = true;
  }
}

function isSameMatch(a: LinkEntry | undefined, b: LinkEntry | undefined): boolean {
  return JSON.stringify(a?.match) === JSON.stringify(b?.match);
}
