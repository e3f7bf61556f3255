import type { LinkName } from "@mnm/proto/net";

/** Who may be changing what is ours, as far as can be told. A hint, no proof. */
export type Culprit =
  /** It asked the kernel for the last change, and is still running. */
  | { readonly kind: "program"; readonly name: string; readonly pid: number }
  /** One that asked and has ended since, as ip(8) does at once. */
  | { readonly kind: "short-lived"; readonly suspects: readonly string[] }
  | { readonly kind: "unknown"; readonly suspects: readonly string[] };

/** What to do about a network manager, by the name it is known by. */
const ADVICE: ReadonlyMap<string, (link: string) => string> = new Map([
  [
    "systemd-networkd",
    () =>
      "set ManageForeignRoutingPolicyRules=no and ManageForeignRoutes=no in networkd.conf, and restart it",
  ],
  [
    "NetworkManager",
    (link) =>
      `put interface-name:${link} into unmanaged-devices in NetworkManager.conf, and reload it`,
  ],
  ["connmand", (link) => `put ${link} into NetworkInterfaceBlacklist in connman's main.conf`],
  ["dhclient", stopIt("dhclient")],
  ["dhcpcd", stopIt("dhcpcd")],
  ["udhcpc", stopIt("udhcpc")],
]);

/** The network managers that {@link Culprit} may name as suspects. */
export const NETWORK_MANAGERS: ReadonlySet<string> = new Set(ADVICE.keys());

/** The culprit, as the end of a sentence; empty when there is no sign of anybody. */
export function nameOfCulprit(culprit: Culprit): string {
  switch (culprit.kind) {
    case "program":
      return `${culprit.name} (pid ${culprit.pid})`;
    case "short-lived":
      return `a short-lived program, such as ip in a script${alsoRunning(culprit.suspects)}`;
    case "unknown":
      return culprit.suspects.length === 0
        ? ""
        : `perhaps ${culprit.suspects.join(" or ")}, running here`;
  }
}

/** What to do about it: for the culprit, or else for those that may be. */
export function adviceAbout(culprit: Culprit, link: LinkName | undefined): string {
  const names = culprit.kind === "program" ? [culprit.name] : culprit.suspects;
  const where = link ?? "MNM's links";
  const known = names.flatMap((name) => {
    const advice = ADVICE.get(name)?.(where);
    if (advice === undefined) return [];
    return culprit.kind === "program" ? [advice] : [`if it is ${name}: ${advice}`];
  });
  return known.length > 0 ? known.join("; ") : stopIt("that program")(where);
}

function stopIt(program: string): (link: string) => string {
  return (link) =>
    `keep ${program} away from ${link}, or give it the link with \`mode: ignore\` in mnm.yaml`;
}

function alsoRunning(suspects: readonly string[]): string {
  return suspects.length === 0 ? "" : ` (running here: ${suspects.join(", ")})`;
}
