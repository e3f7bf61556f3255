import type { HostStatus } from "../engine/index.js";

/** The host in one line, for `systemctl status`: `2 of 3 uplinks usable, default wan0, 1 warning`. */
export function describeHost(host: HostStatus): string {
  const { links, defaultLink, warnings, helper } = host;
  if (!host.isSettled) return "Looking for uplinks";
  const managed = links.filter(({ managed }) => managed !== undefined);
  const usable = managed.filter(({ state }) => state === "usable");
  const count =
    managed.length === 0
      ? "No link to manage"
      : `${usable.length} of ${managed.length} uplinks usable`;
  const parts = [count, defaultLink === undefined ? "no default" : `default ${defaultLink}`];
  if (helper.kind === "unreachable") parts.push("helper not reachable");
  if (warnings.length > 0) {
    parts.push(warnings.length === 1 ? "1 warning" : `${warnings.length} warnings`);
  }
  return parts.join(", ");
}
