import type { MacAddress } from "@mnm/proto/net";
import { isUsable, linkRefOf } from "../link/index.js";
import { type KernelAddress, type KernelModel, MNM_PROTOCOL } from "../reconcile/index.js";
import type { Addressing, Uplink } from "../uplink/index.js";
import type { LinkState, ManagedLink } from "./managed-link.js";

/** What an uplink was made from, and what came of it. */
interface Made {
  readonly from: readonly unknown[];
  readonly uplink: Uplink | undefined;
}

/**
 * The managed links that have an address, as uplinks. One that is as it was before is the same
 * object, so that nobody has to look at it again.
 */
export class Uplinks {
  readonly #made = new WeakMap<ManagedLink, Made>();

  of(
    managedLinks: Iterable<ManagedLink>,
    { addresses }: KernelModel,
  ): ReadonlyMap<ManagedLink, Uplink> {
    const uplinks = new Map<ManagedLink, Uplink>();
    for (const managed of managedLinks) {
      const uplink = this.#uplinkOf(managed, addresses.of(managed.ifindex));
      if (uplink !== undefined) uplinks.set(managed, uplink);
    }
    return uplinks;
  }

  #uplinkOf(managed: ManagedLink, addresses: readonly KernelAddress[]): Uplink | undefined {
    const from = [...managed.basis, addresses];
    const before = this.#made.get(managed);
    if (before?.from.every((part, index) => part === from[index])) return before.uplink;
    const made = uplinkOf(managed, addresses);
    const isSame = JSON.stringify(made) === JSON.stringify(before?.uplink);
    const uplink = before !== undefined && isSame ? before.uplink : made;
    this.#made.set(managed, { from, uplink });
    return uplink;
  }
}

/** The uplink that a managed link is now; undefined while it has no address or no metric. */
function uplinkOf(managed: ManagedLink, addresses: readonly KernelAddress[]): Uplink | undefined {
  const wanted = managed.addressing(addresses);
  if (wanted === undefined || managed.metric === undefined) return undefined;
  const addressing = leftToItsOwner(wanted, addresses);
  return {
    identity: managed.identity,
    link: linkRefOf(managed.link),
    table: managed.table,
    metric: managed.metric.value,
    addressing,
    pointToPoint: managed.link.pointToPoint,
    carrier: isUsable(managed.link),
    dormant: managed.isDormant,
  };
}

/**
 * An address that another program has put on the link already stays that program's: it is used, and
 * neither refreshed nor removed.
 */
function leftToItsOwner(wanted: Addressing, addresses: readonly KernelAddress[]): Addressing {
  const isForeign = addresses.some(
    ({ address, length, protocol }) =>
      address === wanted.address && length === wanted.length && protocol !== MNM_PROTOCOL,
  );
  return isForeign ? { ...wanted, origin: "adopted" } : wanted;
}

/** The MACs of this host: what they say by ARP is no stranger's word. */
export function macsOf({ links }: KernelModel): ReadonlySet<MacAddress> {
  return new Set([...links.values()].flatMap(({ mac }) => mac ?? []));
}

export function stateOf(managed: ManagedLink, isAnnounced: boolean, isFaulty: boolean): LinkState {
  if (managed.isReleased) return isFaulty ? "faulty" : "released";
  if (!managed.link.adminUp) return "no-carrier";
  if (isFaulty) return "faulty";
  const usable = isUsable(managed.link);
  if (isAnnounced) return usable ? "usable" : "holding";
  return usable ? "configuring" : "no-carrier";
}
