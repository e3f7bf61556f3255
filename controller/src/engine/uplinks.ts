import type { Ifindex } from "@mnm/proto/net";
import { isUsable, linkRefOf } from "../link/index.js";
import type { KernelAddress, KernelModel } from "../reconcile/index.js";
import type { Uplink } from "../uplink/index.js";
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
  const addressing = managed.addressing(addresses);
  if (addressing === undefined || managed.metric === undefined) return undefined;
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

export function stateOf(managed: ManagedLink, isAnnounced: boolean, isFaulty: boolean): LinkState {
  if (!managed.link.adminUp) return "no-carrier";
  if (isFaulty) return "faulty";
  const usable = isUsable(managed.link);
  if (isAnnounced) return usable ? "usable" : "holding";
  return usable ? "configuring" : "no-carrier";
}
