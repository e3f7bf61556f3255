import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { err, ok, parseLinkName, type Result } from "@mnm/proto/net";
import type { AllowList } from "../allow-list.js";

/** Everything that helper.json says. What it leaves out is as in {@link DEFAULT_CONFIG}. */
export interface HelperConfig extends AllowList {
  /** Name or number of the one user that may connect. */
  readonly peerUid: string | number;
}

export const DEFAULT_CONFIG: HelperConfig = {
  links: ["*"],
  tables: [7701, 9699],
  mainDefault: { allow: true, metrics: [1, 39_999] },
  selectors: { uids: [], fwmarks: [], iifs: [] },
  legacyBroadcast: false,
  peerUid: "mnm",
};

const CONFIG_PATH = "/etc/mnm/helper.json";
const LARGEST_FILE = 64 * 1024;

/**
 * Reads and checks the file, or says in a sentence why it is not believed. It is the root of trust,
 * so only root may be able to change it. Where nobody named one, there need be none.
 */
export function loadConfig(
  named: string | undefined,
): Result<{ readonly config: HelperConfig; readonly source: string }, string> {
  const path = named ?? CONFIG_PATH;
  let fd: number | undefined;
  try {
    // O_NONBLOCK, or a FIFO would keep us. The open file is looked at, not the path, which could
    // name another one a moment later.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile()) return err(`${path} is not a regular file`);
    if (stat.uid !== 0) return err(`${path} belongs to uid ${stat.uid}, but must to root`);
    if ((stat.mode & 0o022) !== 0) return err(`${path} is writable by group or others`);
    if (stat.size > LARGEST_FILE) return err(`${path} is larger than 64 KiB`);
    const config = parseConfig(readFileSync(fd, "utf8"));
    return config.ok ? ok({ config: config.value, source: path }) : err(`${path}: ${config.error}`);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : cause;
    const isAbsent = code === "ENOENT" && named === undefined;
    if (isAbsent) return ok({ config: DEFAULT_CONFIG, source: `no ${path}, so the defaults` });
    return err(`Cannot read ${path}: ${code}`);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Checks the text of helper.json, every key and every value; else says in a sentence what is wrong. */
export function parseConfig(text: string): Result<HelperConfig, string> {
  try {
    const keys = ["links", "tables", "main_default", "selectors", "legacy_broadcast", "peer_uid"];
    const file = section("", JSON.parse(text), keys);
    const inner = (key: string, known: readonly string[]) =>
      section(`${key}.`, file(key, {}, isAny, ""), known);
    const main = inner("main_default", ["allow", "metrics"]);
    const selectors = inner("selectors", ["uids", "fwmarks", "iifs"]);
    const { links, tables, mainDefault, legacyBroadcast, peerUid } = DEFAULT_CONFIG;
    const metrics = main("metrics", mainDefault.metrics, isRange(1), "[first, last], from 1");
    return ok({
      links: file("links", links, isPatterns, 'a list of link names such as "wan*"'),
      tables: file("tables", tables, isRange(256), "[first, last], from 256"),
      mainDefault: { allow: main("allow", true, isBoolean, "true or false"), metrics },
      selectors: {
        uids: selectors("uids", [], isNumbers(0, 0xffff_fffe), "a list of users' numbers"),
        // 0 is what most packets have, so that it would select nearly everything.
        fwmarks: selectors("fwmarks", [], isNumbers(1, 0xffff_ffff), "a list of marks, from 1"),
        iifs: selectors("iifs", [], isNames, "a list of link names"),
      },
      legacyBroadcast: file("legacy_broadcast", legacyBroadcast, isBoolean, "true or false"),
      peerUid: file("peer_uid", peerUid, isUser, "the name or the number of a user"),
    });
  } catch (cause) {
    return err(cause instanceof Error ? cause.message : String(cause));
  }
}

/**
 * An object of the file, as a function that gives its values. Both throw what is wrong with it, as
 * a sentence.
 */
function section(path: string, given: unknown, known: readonly string[]) {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw new TypeError(`${path.slice(0, -1) || "The file"} must be an object`);
  }
  const values = new Map<string, unknown>(Object.entries(given));
  const odd = [...values.keys()].find((key) => !known.includes(key));
  if (odd !== undefined) {
    const nearest = known.toSorted((a, b) => likeness(b, odd) - likeness(a, odd))[0];
    const shown = JSON.stringify(path + odd.slice(0, 40));
    throw new TypeError(`Key ${shown} is unknown; the nearest known one is "${path}${nearest}"`);
  }
  return <T>(key: string, absent: T, is: (value: unknown) => value is T, must: string): T => {
    const value = values.has(key) ? values.get(key) : absent;
    if (!is(value)) throw new TypeError(`${path}${key} must be ${must}`);
    return value;
  };
}

const isAny = (value: unknown): value is unknown => value !== undefined;

const isBoolean = (value: unknown): value is boolean => typeof value === "boolean";

function isWithin(value: unknown, from: number, to: number): value is number {
  return Number.isInteger(value) && Number(value) >= from && Number(value) <= to;
}

function isPatterns(value: unknown): value is readonly string[] {
  const isPattern = (one: unknown) => typeof one === "string" && /^[!-.0-9;-~]{1,15}$/.test(one);
  return Array.isArray(value) && value.every(isPattern);
}

const isNames = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((one) => typeof one === "string" && parseLinkName(one).ok);

function isNumbers(from: number, to: number) {
  return (value: unknown): value is readonly number[] =>
    Array.isArray(value) && value.every((one) => isWithin(one, from, to));
}

function isRange(from: number) {
  return (value: unknown): value is readonly [number, number] =>
    Array.isArray(value) &&
    value.length === 2 &&
    isWithin(value[0], from, 0xffff_ffff) &&
    isWithin(value[1], value[0], 0xffff_ffff);
}

function isUser(value: unknown): value is string | number {
  return isWithin(value, 0, 0xffff_fffe) || (typeof value === "string" && value !== "");
}

/** How many letters two keys begin with alike. */
function likeness(a: string, b: string): number {
  const differs = [...a].findIndex((letter, at) => letter !== b[at]);
  return differs < 0 ? a.length : differs;
}
