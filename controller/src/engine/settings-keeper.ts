import { type Link, type LinkSettings, linkRefOf } from "../link/index.js";
import type { SettingsOfLink } from "../plan/index.js";
import { type KernelModel, MNM_PROTOCOL, type WantedSettings } from "../reconcile/index.js";
import type { SettingsRecord, Uplink } from "../uplink/index.js";
import type { ManagedLink } from "./managed-link.js";
import type { Registry } from "./registry.js";

type SettingName = keyof LinkSettings;

/** What the keeper looks at. */
export interface SettingsScene {
  readonly kernel: KernelModel;
  readonly registry: Registry;
  readonly settingsOf: SettingsOfLink;
  readonly uplinkOf: (managed: ManagedLink) => Uplink | undefined;
  readonly bootId: string;
  /** Everything is being withdrawn: nothing is wanted, all is put back. */
  readonly isWithdrawing: boolean;
}

/**
 * The settings that links should have now: those that MNM needs, and the values found where it no
 * longer needs them. Values found are recorded before they are changed, so that a kill between
 * the two cannot lose them.
 */
export function wantedSettings(scene: SettingsScene): readonly WantedSettings[] {
  const { kernel, registry, settingsOf, uplinkOf, isWithdrawing } = scene;
  const wanted: WantedSettings[] = [];
  for (const managed of registry.managed.values()) {
    const { link } = managed;
    const needs = isWithdrawing
      ? neededByAddresses(link, kernel)
      : settingsOf(uplinkOf(managed), link.settings);
    recordFound(managed.identity, needs, link, scene);
    wanted.push({
      link: linkRefOf(link),
      up: !managed.raised && !isWithdrawing,
      settings: { ...putBack(managed.identity, needs, link, scene), ...needs },
    });
  }
  // Links that are no longer managed, but are still here with our settings.
  for (const [identity, found] of registry.settingsFound) {
    if (registry.byIdentity(identity) !== undefined) continue;
    const link = [...kernel.links.values()].find((candidate) => isOf(found, candidate, scene));
    if (link === undefined) {
      registry.recordSettings(identity, undefined);
      continue;
    }
    const needs = neededByAddresses(link, kernel);
    const settings = { ...putBack(identity, needs, link, scene), ...needs };
    wanted.push({ link: linkRefOf(link), up: false, settings });
  }
  return wanted;
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
