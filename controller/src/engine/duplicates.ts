import { type DhcpEvent, leaseOf } from "../dhcp4/index.js";
import type { Uplink } from "../uplink/index.js";
import type { ManagedLink } from "./managed-link.js";

type Uplinks = ReadonlyMap<ManagedLink, Uplink>;

interface Scene {
  readonly managed: Iterable<ManagedLink>;
  readonly uplinks: Uplinks;
  /** No address shall be used twice. */
  readonly isUnique: boolean;
}

/** Lets the DHCP machine of a link hear of it. */
type Tell = (managed: ManagedLink, event: DhcpEvent) => void;

/**
 * `unique`: of two leases with one address, the later is declined. Answers the uplinks that are
 * left. Once nobody has the address any more, who had to decline it need not wait for long.
 */
export function settleDuplicates(scene: Scene, tell: Tell): Uplinks {
  for (const managed of scene.managed) {
    if (waitsForNobody(managed, scene)) tell(managed, { kind: "check", gatewayAsked: false });
  }
  return scene.isUnique ? declineLater(scene.uplinks, tell) : scene.uplinks;
}

function waitsForNobody({ dhcp }: ManagedLink, { uplinks, isUnique }: Scene): boolean {
  const { last } = dhcp.setbacks;
  if (dhcp.kind !== "init" || last?.kind !== "taken" || last.holder.kind !== "link") return false;
  return (
    !isUnique ||
    ![...uplinks.values()].some(({ addressing }) => addressing.address === last.address)
  );
}

function declineLater(uplinks: Uplinks, tell: Tell): Uplinks {
  const kept = new Map<ManagedLink, Uplink>();
  const holders = new Map<number, ManagedLink>();
  const since = ([{ dhcp }]: readonly [ManagedLink, Uplink]): number =>
    leaseOf(dhcp)?.acquiredAt ?? 0;
  for (const [managed, uplink] of [...uplinks].toSorted((a, b) => since(a) - since(b))) {
    const { address } = uplink.addressing;
    const holder = holders.get(address);
    if (leaseOf(managed.dhcp) !== undefined && holder !== undefined) {
      tell(managed, { kind: "conflict", holder: { kind: "link", name: holder.name } });
    } else {
      holders.set(address, managed);
      kept.set(managed, uplink);
    }
  }
  return kept;
}
