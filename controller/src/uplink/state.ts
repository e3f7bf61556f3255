import type { LinkSettings } from "../link/index.js";

/** What MNM remembers about links through restarts, by identity. */
export interface PersistentState {
  readonly identities: ReadonlyMap<string, IdentityRecord>;
  readonly settingsFound: ReadonlyMap<string, SettingsRecord>;
}

export interface IdentityRecord {
  /** 1 to 1999; the table is 7700 more. */
  readonly slot: number;
  readonly automaticMetric: number | undefined;
  /** `set-metric --persist`. */
  readonly persistedMetric: number | undefined;
  /** Grows with every use of a slot, so that the one longest absent can be found. */
  readonly usedAt: number;
}

/** Settings of a link as they were before MNM changed them; to be put back. */
export interface SettingsRecord {
  /** Another boot's values mean nothing: the kernel has started from its defaults. */
  readonly bootId: string;
  readonly ifindex: number;
  readonly name: string;
  /** Empty where the link has none. An ifindex alone may be another link's by now. */
  readonly mac: string;
  readonly values: Partial<LinkSettings>;
}

export const EMPTY_STATE: PersistentState = { identities: new Map(), settingsFound: new Map() };

const SETTING_NAMES: readonly (keyof LinkSettings)[] = [
  "rpFilter",
  "arpIgnore",
  "arpAnnounce",
  "ignoreRoutesWithLinkdown",
  "promoteSecondaries",
];

export const MAX_SLOT = 1999;

/** The state as JSON. */
export function encodeState(state: PersistentState): unknown {
  return {
    version: 1,
    identities: Object.fromEntries(state.identities),
    settingsFound: Object.fromEntries(state.settingsFound),
  };
}

/**
 * Reads back what {@link encodeState} gave, keeping of damaged data what still makes sense: a lost
 * slot costs a table number, a refused state would cost the service.
 */
export function decodeState(value: unknown): PersistentState {
  if (!isRecord(value) || value["version"] !== 1) return EMPTY_STATE;
  const identities = new Map<string, IdentityRecord>();
  const slots = new Set<number>();
  for (const [identity, raw] of entriesOf(value["identities"])) {
    const record = decodeIdentity(raw);
    if (record === undefined || slots.has(record.slot)) continue;
    slots.add(record.slot);
    identities.set(identity, record);
  }
  const settingsFound = new Map<string, SettingsRecord>();
  for (const [identity, raw] of entriesOf(value["settingsFound"])) {
    const record = decodeSettings(raw);
    if (record !== undefined) settingsFound.set(identity, record);
  }
  return { identities, settingsFound };
}

function decodeIdentity(raw: unknown): IdentityRecord | undefined {
  if (!isRecord(raw)) return undefined;
  const slot = integerIn(raw["slot"], 1, MAX_SLOT);
  if (slot === undefined) return undefined;
  return {
    slot,
    automaticMetric: integerIn(raw["automaticMetric"], 1, 9999),
    persistedMetric: integerIn(raw["persistedMetric"], 1, 9999),
    usedAt: integerIn(raw["usedAt"], 0, Number.MAX_SAFE_INTEGER) ?? 0,
  };
}

function decodeSettings(raw: unknown): SettingsRecord | undefined {
  if (!isRecord(raw) || !isRecord(raw["values"])) return undefined;
  const ifindex = integerIn(raw["ifindex"], 1, 0x7fff_ffff);
  if (ifindex === undefined) return undefined;
  const values: { -readonly [K in keyof LinkSettings]?: number } = {};
  for (const name of SETTING_NAMES) {
    const setting = integerIn(raw["values"][name], 0, 8);
    if (setting !== undefined) values[name] = setting;
  }
  const [bootId, name, mac] = [raw["bootId"], raw["name"], raw["mac"]];
  const isComplete = typeof bootId === "string" && typeof name === "string";
  if (!isComplete || typeof mac !== "string") return undefined;
  return { bootId, ifindex, name, mac, values };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function entriesOf(value: unknown): readonly (readonly [string, unknown])[] {
  return isRecord(value) ? Object.entries(value) : [];
}

function integerIn(value: unknown, min: number, max: number): number | undefined {
  const isValid = typeof value === "number" && Number.isInteger(value);
  return isValid && value >= min && value <= max ? value : undefined;
}
