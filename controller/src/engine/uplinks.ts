import type { Ifindex } from "@mnm/proto/net";
import { isUsable, linkRefOf } from "../link/index.js";
import { type KernelAddress, type KernelModel, MNM_PROTOCOL } from "../reconcile/index.js";
import type { Addressing, Uplink } from "../uplink/index.js";
import type { LinkState, ManagedLink } from "./managed-link.js";

export type AddressesByLink = ReadonlyMap<Ifindex, readonly KernelAddress[]>;

export function addressesByLink(kernel: KernelModel): AddressesByLink {
  const byLink = new Map<Ifindex, KernelAddress[]>();
  for (const address of kernel.addresses.values()) {
    const list = byLink.get(address.ifindex);
    if (list === undefined) byLink.set(address.ifindex, [address]);
    else list.push(address);
  }
  return byLink;
}

/** The managed links that have an address, as uplinks. */
export function uplinksOf(
  managedLinks: Iterable<ManagedLink>,
  addresses: AddressesByLink,
): ReadonlyMap<ManagedLink, Uplink> {
  const uplinks = new Map<ManagedLink, Uplink>();
  for (const managed of managedLinks) {
    const uplink = uplinkOf(managed, addresses.get(managed.ifindex) ?? []);
    if (uplink !== undefined) uplinks.set(managed, uplink);
  }
  return uplinks;
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

export function stateOf(managed: ManagedLink, isAnnounced: boolean, isFaulty: boolean): LinkState {
  if (!managed.link.adminUp) return "no-carrier";
  if (isFaulty) return "faulty";
  const usable = isUsable(managed.link);
  if (isAnnounced) return usable ? "usable" : "holding";
  return usable ? "configuring" : "no-carrier";
}
