import type { Ifindex } from "@mnm/proto/net";
import { type Link, type LinkSettings, linkRefOf } from "../link/index.js";
import { type Collision, collisionsOf, planSettings } from "../plan/index.js";
import { type KernelModel, MNM_PROTOCOL, type WantedSettings } from "../reconcile/index.js";
import type { SettingsRecord, Uplink } from "../uplink/index.js";
import type { ManagedLink } from "./managed-link.js";
import type { Registry } from "./registry.js";

type SettingName = keyof LinkSettings;

/** What the keeper looks at. */
export interface SettingsScene {
  readonly kernel: KernelModel;
  readonly registry: Registry;
  readonly bootId: string;
}

/**
 * The settings that links should have: those that MNM needs, and the values found where it no longer
 * needs them. Values found are recorded before they are changed, so that a kill between the two cannot
 * lose them.
 */
export class SettingsKeeper {
  readonly #scene: SettingsScene;
  #collisions: ReadonlyMap<Ifindex, Collision> = new Map();
  /** Links with settings of ours that are not managed any more. */
  #leftovers: ReadonlySet<Ifindex> = new Set();

  constructor(scene: SettingsScene) {
    this.#scene = scene;
  }

  /** Takes other uplinks than before; answers the links to which that makes a difference. */
  replan(uplinks: readonly Uplink[]): readonly Ifindex[] {
    const before = this.#collisions;
    const now = new Map<Ifindex, Collision>();
    for (const [{ link }, collision] of collisionsOf(uplinks)) now.set(link.ifindex, collision);
    this.#collisions = now;
    const candidates = new Set([...before.keys(), ...now.keys()]);
    return [...candidates].filter((ifindex) => before.get(ifindex) !== now.get(ifindex));
  }

  /**
   * What links should be set to now; undefined for one that is nobody's business. Beside those that
   * were asked for, it answers for links with settings of ours that are not managed any more.
   *
   * @param isWithdrawing nothing is wanted, all is put back
   */
  review(
    ifindexes: Iterable<Ifindex>,
    isWithdrawing: boolean,
  ): ReadonlyMap<Ifindex, WantedSettings | undefined> {
    const { registry } = this.#scene;
    const wanted = new Map<Ifindex, WantedSettings | undefined>();
    for (const ifindex of [...ifindexes, ...this.#leftovers]) {
      const managed = registry.managed.get(ifindex);
      wanted.set(ifindex, managed && this.#wantedOf(managed, isWithdrawing));
    }
    const leftovers = [...registry.leftovers].flatMap((identity) => this.#leftover(identity) ?? []);
    for (const leftover of leftovers) wanted.set(leftover.link.ifindex, leftover);
    this.#leftovers = new Set(leftovers.map(({ link }) => link.ifindex));
    return wanted;
  }

  #wantedOf({ identity, link, raised }: ManagedLink, isWithdrawing: boolean): WantedSettings {
    const { kernel } = this.#scene;
    const needs = isWithdrawing
      ? neededByAddresses(link, kernel)
      : planSettings(this.#collisions.get(link.ifindex), link.settings, kernel.rpFilterAll);
    recordFound(identity, needs, link, this.#scene);
    const settings = { ...putBack(identity, needs, link, this.#scene), ...needs };
    return { link: linkRefOf(link), up: !raised && !isWithdrawing, settings };
  }

  /** What a link is to be set to that is not managed any more, but is still here with our settings. */
  #leftover(identity: string): WantedSettings | undefined {
    const { kernel, registry } = this.#scene;
    const found = registry.settingsFound.get(identity);
    if (found === undefined) return undefined;
    const link = kernel.links.get(found.ifindex as Ifindex);
    if (link === undefined || !isOf(found, link, this.#scene)) {
      registry.recordSettings(identity, undefined);
      return undefined;
    }
    const needs = neededByAddresses(link, kernel);
    const settings = { ...putBack(identity, needs, link, this.#scene), ...needs };
    return { link: linkRefOf(link), up: false, settings };
  }
}

/**
 * While an address of ours is on a link, its going must not take an operator's second one in the
 * same prefix along, whoever the link belongs to by now.
 */
function neededByAddresses({ ifindex }: Link, { addresses }: KernelModel): Partial<LinkSettings> {
  const isOurs = addresses.of(ifindex).some(({ protocol }) => protocol === MNM_PROTOCOL);
  return isOurs ? { promoteSecondaries: 1 } : {};
}

function recordFound(
  identity: string,
  needs: Partial<LinkSettings>,
  link: Link,
  scene: SettingsScene,
): void {
  const { registry, bootId } = scene;
  const { ifindex, name, settings } = link;
  const known = registry.settingsFound.get(identity);
  const isCurrent = known !== undefined && isOf(known, link, scene);
  const values: Partial<Record<SettingName, number>> = isCurrent ? { ...known.values } : {};
  const missing = namesOf(needs).filter(
    (name) => values[name] === undefined && settings[name] !== needs[name],
  );
  if (missing.length === 0) return;
  for (const setting of missing) values[setting] = settings[setting];
  registry.recordSettings(identity, { bootId, ifindex, name, mac: link.mac ?? "", values });
}

/** The found values of settings that are no longer needed; forgets those that are back. */
function putBack(
  identity: string,
  needs: Partial<LinkSettings>,
  link: Link,
  scene: SettingsScene,
): Partial<LinkSettings> {
  const { registry } = scene;
  const { settings } = link;
  const found = registry.settingsFound.get(identity);
  if (found === undefined) return {};
  if (!isOf(found, link, scene)) {
    registry.recordSettings(identity, undefined);
    return {};
  }
  const obsolete = namesOf(found.values).filter((name) => needs[name] === undefined);
  const outstanding = obsolete.filter((name) => settings[name] !== found.values[name]);
  if (outstanding.length < obsolete.length) {
    const kept = namesOf(found.values).filter(
      (name) => !obsolete.includes(name) || outstanding.includes(name),
    );
    const values = pick(found.values, kept);
    registry.recordSettings(identity, kept.length === 0 ? undefined : { ...found, values });
  }
  return pick(found.values, outstanding);
}

/** Whether a record is of this very link: its number may have been given to another since. */
function isOf(record: SettingsRecord, link: Link, { bootId }: SettingsScene): boolean {
  const isSameNumber = record.bootId === bootId && record.ifindex === link.ifindex;
  const isSameHardware = record.mac === (link.mac ?? "");
  // A renamed link is told by its MAC; one without a MAC only by its name.
  return isSameNumber && isSameHardware && (record.mac !== "" || record.name === link.name);
}

function namesOf(settings: Partial<LinkSettings>): readonly SettingName[] {
  return Object.keys(settings) as SettingName[];
}

function pick(
  settings: Partial<LinkSettings>,
  names: readonly SettingName[],
): Partial<LinkSettings> {
  return Object.fromEntries(names.map((name) => [name, settings[name]]));
}
