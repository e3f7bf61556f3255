import type { Ifindex } from "@mnm/proto/net";
import { ownersOfAddresses, planShared, planUplink } from "../plan/index.js";
import type { Uplink } from "../uplink/index.js";
import { compare, inOrder, putSettings, putsOf, type Wanted, type WantedSettings } from "./diff.js";
import type { KernelModel } from "./kernel-model.js";
import { type ObjectKey, operationKey, settingsKey } from "./keys.js";
import type { Operation } from "./operation.js";

/** What one uplink wants, and whether the rules by address are among it. */
interface Share {
  readonly isOwner: boolean;
  readonly keys: readonly ObjectKey[];
}

/**
 * Keeps the difference between plan and kernel, at a cost that grows with what changed and not
 * with what there is: only keys are compared that the plan or the kernel touched, and those that
 * differed before.
 */
export class Reconciler {
  readonly #kernel: KernelModel;
  readonly #wanted = new Map<ObjectKey, Wanted>();
  #shares = new Map<Uplink, Share>();
  #sharedKeys: readonly ObjectKey[] = [];
  readonly #settings = new Map<Ifindex, WantedSettings>();
  /** What is to be done about the keys that differ. */
  readonly #open = new Map<ObjectKey, readonly Operation[]>();
  /** Keys that the plan touched since they were last compared. */
  readonly #touched = new Set<ObjectKey>();
  #linksVersion = -1;

  constructor(kernel: KernelModel) {
    this.#kernel = kernel;
  }

  /** Takes the uplinks as they are now. One that is unchanged is the same object as before. */
  plan(uplinks: readonly Uplink[]): void {
    const before = this.#shares;
    const owners = ownersOfAddresses(uplinks);
    const after = new Map<Uplink, Share>();
    const changed: Uplink[] = [];
    for (const uplink of uplinks) {
      const isOwner = owners.get(uplink.addressing.address) === uplink;
      const share = before.get(uplink);
      const isSame = share?.isOwner === isOwner;
      after.set(uplink, isSame ? share : { isOwner, keys: [] });
      if (!isSame) changed.push(uplink);
    }
    // First what goes: what comes may have the same key.
    for (const [uplink, share] of before) {
      if (after.get(uplink) !== share) this.#drop(share.keys);
    }
    for (const uplink of changed) {
      const isOwner = owners.get(uplink.addressing.address) === uplink;
      after.set(uplink, { isOwner, keys: this.#want(putsOf(planUplink(uplink, owners))) });
    }
    this.#shares = after;
    this.#drop(this.#sharedKeys);
    this.#sharedKeys = this.#want(
      planShared(uplinks).map((planned) => ({ kind: "put-rule", ...planned })),
    );
  }

  wants(key: ObjectKey): boolean {
    return this.#wanted.has(key);
  }

  /** Believes nothing of what it has found before: the next look is at everything. */
  audit(): void {
    this.#drop([...this.#shares.values()].flatMap(({ keys }) => keys));
    this.#drop(this.#sharedKeys);
    this.#shares = new Map();
    this.#sharedKeys = [];
    for (const ifindex of this.#settings.keys()) this.#touched.add(settingsKey(ifindex));
    const { routes, rules, addresses } = this.#kernel;
    for (const map of [routes, rules, addresses])
      for (const key of map.keys()) this.#touched.add(key);
  }

  /** Takes the settings that a link should have now; undefined when that is nobody's business. */
  set(ifindex: Ifindex, wanted: WantedSettings | undefined): void {
    const key = settingsKey(ifindex);
    const before = this.#settings.get(ifindex);
    if (wanted === undefined) {
      if (this.#settings.delete(ifindex)) this.#drop([key]);
      return;
    }
    this.#settings.set(ifindex, wanted);
    this.#wanted.set(key, putSettings(wanted));
    if (!isSameWish(before, wanted)) this.#touched.add(key);
  }

  /** What is to be done now, in no order; {@link ordered} puts it into one. */
  operations(): readonly Operation[] {
    const { links } = this.#kernel;
    // Operations name their links.
    const isOtherLinks = links.version !== this.#linksVersion;
    this.#linksVersion = links.version;
    if (isOtherLinks) for (const key of this.#open.keys()) this.#touched.add(key);
    for (const key of this.#kernel.takeTouched()) this.#touched.add(key);
    for (const key of this.#touched) {
      const differences = compare(key, this.#wanted.get(key), this.#kernel);
      if (differences === undefined) this.#open.delete(key);
      else this.#open.set(key, differences);
    }
    this.#touched.clear();
    return [...this.#open.values()].flat();
  }

  /** Operations in an order that is safe to perform, with the second homes that an exchange needs. */
  ordered(operations: readonly Operation[]): readonly Operation[] {
    return inOrder(operations, this.#wanted, this.#kernel);
  }

  #want(puts: readonly Wanted[]): readonly ObjectKey[] {
    return puts.map((put) => {
      const key = operationKey(put);
      this.#wanted.set(key, put);
      this.#touched.add(key);
      return key;
    });
  }

  #drop(keys: readonly ObjectKey[]): void {
    for (const key of keys) {
      this.#wanted.delete(key);
      this.#touched.add(key);
    }
  }
}

/** Whether the same is wanted of a link. Its name may have changed: the key is of its number. */
function isSameWish(before: WantedSettings | undefined, now: WantedSettings): boolean {
  if (before === undefined || before.up !== now.up) return false;
  const names = Object.keys(now.settings) as (keyof typeof now.settings)[];
  return (
    names.length === Object.keys(before.settings).length &&
    names.every((name) => before.settings[name] === now.settings[name])
  );
}
