import { ALLOWED, type Arena, isAllowedName, path } from "./hostile-arena.js";

/**
 * Whether something of protocol 77, a line of a snapshot, is where helper.json and the contract
 * allow it to be.
 */
export function isWithinRanges(line: string, { main }: Arena): boolean {
  const object: unknown = JSON.parse(line);
  if (path(object, "local") !== undefined) return isAllowedName(String(path(object, "link")));
  if (path(object, "priority") !== undefined) return isRuleWithin(object);
  if (path(object, "table") !== "main") return isOwnTable(path(object, "table"));
  const metric = Number(path(object, "metric"));
  const isInWindow = main !== undefined && metric >= main[0] && metric <= main[1];
  const isDefault = path(object, "dst") === "default" && path(object, "type") === "unicast";
  return isInWindow && isDefault && isAllowedName(String(path(object, "dev")));
}

function isOwnTable(table: unknown): boolean {
  return Number(table) >= ALLOWED.tables[0] && Number(table) <= ALLOWED.tables[1];
}

function isRuleWithin(rule: unknown): boolean {
  const priority = Number(path(rule, "priority"));
  if (priority === 9500) return path(rule, "table") === "main";
  if (priority === 10_500) return path(rule, "action") === "unreachable";
  const isSelector = priority >= 9600 && priority <= 9899;
  const isConnected = priority >= 20_001 && priority <= 29_999;
  const isKnown = [9000, 9400, 10_000].includes(priority) || isSelector || isConnected;
  return isKnown && isOwnTable(path(rule, "table"));
}
