import type { Ipv4 } from "@mnm/proto/net";
import { type DhcpEvent, leaseOf } from "../dhcp4/index.js";
import type { ManagedLink } from "./managed-link.js";
import type { Uplinks } from "./uplinks.js";

interface Scene {
  /** Those that something happened to. */
  readonly touched: readonly ManagedLink[];
  readonly managed: Iterable<ManagedLink>;
  readonly uplinks: Uplinks;
  /** No address shall be used twice. */
  readonly isUnique: boolean;
}

/** What the DHCP machine of a link should hear of it. */
type News = readonly [managed: ManagedLink, event: DhcpEvent];

/**
 * `unique`: of two leases with one address, the later is declined. Once nobody has the address any
 * more, who had to decline it need not wait for long.
 */
export function newsOfDuplicates(scene: Scene): readonly News[] {
  const { touched, managed, uplinks, isUnique } = scene;
  const candidates = uplinks.isChanged ? [...managed] : touched;
  const waiting = candidates.filter((candidate) => waitsForNobody(candidate, scene));
  const eased = waiting.map((link): News => [link, { kind: "check", gatewayAsked: false }]);
  if (!isUnique) return eased;
  const addresses = touched.flatMap((link) => uplinks.current.get(link)?.addressing.address ?? []);
  const inOrder = [...new Set(addresses)].toSorted((a, b) => a - b);
  return [...eased, ...inOrder.flatMap((address) => declineLater(address, uplinks))];
}

function waitsForNobody({ dhcp }: ManagedLink, { uplinks, isUnique }: Scene): boolean {
  const { last } = dhcp.setbacks;
  if (dhcp.kind !== "init" || last?.kind !== "taken" || last.holder.kind !== "link") return false;
  return !isUnique || uplinks.holdersOf(last.address).size === 0;
}

function declineLater(address: Ipv4, uplinks: Uplinks): readonly News[] {
  const declined: News[] = [];
  const since = ({ dhcp }: ManagedLink): number => leaseOf(dhcp)?.acquiredAt ?? 0;
  let holder: ManagedLink | undefined;
  for (const link of [...uplinks.holdersOf(address)].toSorted((a, b) => since(a) - since(b))) {
    if (leaseOf(link.dhcp) === undefined || holder === undefined) {
      holder = link;
    } else {
      const by = { kind: "link", name: holder.name } as const;
      declined.push([link, { kind: "conflict", holder: by }]);
    }
  }
  return declined;
}
