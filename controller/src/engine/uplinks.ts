import type { Ipv4, MacAddress } from "@mnm/proto/net";
import { isUsable, linkRefOf } from "../link/index.js";
import { type KernelAddress, type KernelModel, MNM_PROTOCOL } from "../reconcile/index.js";
import type { Addressing, Uplink } from "../uplink/index.js";
import type { LinkState, ManagedLink } from "./managed-link.js";

const NOBODY: ReadonlySet<ManagedLink> = new Set();

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
  readonly #current = new Map<ManagedLink, Uplink>();
  readonly #byAddress = new Map<Ipv4, Set<ManagedLink>>();
  /** Whether any is another one than at the last {@link takeChanged}. */
  isChanged = true;

  get current(): ReadonlyMap<ManagedLink, Uplink> {
    return this.#current;
  }

  /** The links whose uplink has this address. */
  holdersOf(address: Ipv4): ReadonlySet<ManagedLink> {
    return this.#byAddress.get(address) ?? NOBODY;
  }

  /** Looks again at links that something happened to. */
  review(managedLinks: Iterable<ManagedLink>, { addresses }: KernelModel): void {
    for (const managed of managedLinks) {
      this.#put(managed, this.#uplinkOf(managed, addresses.of(managed.ifindex)));
    }
  }

  /** The link is no longer managed, or withdrawn. */
  forget(managed: ManagedLink): void {
    this.#put(managed, undefined);
  }

  /** Counts all as others than before. */
  audit(): void {
    this.isChanged = true;
  }

  takeChanged(): boolean {
    const isChanged = this.isChanged;
    this.isChanged = false;
    return isChanged;
  }

  #put(managed: ManagedLink, uplink: Uplink | undefined): void {
    const before = this.#current.get(managed);
    if (before === uplink) return;
    this.isChanged = true;
    const [address, now] = [before?.addressing.address, uplink?.addressing.address];
    if (address !== now) this.#move(managed, address, now);
    if (uplink === undefined) this.#current.delete(managed);
    else this.#current.set(managed, uplink);
  }

  #move(managed: ManagedLink, from: Ipv4 | undefined, to: Ipv4 | undefined): void {
    if (from !== undefined) {
      const left = this.#byAddress.get(from);
      left?.delete(managed);
      if (left?.size === 0) this.#byAddress.delete(from);
    }
    if (to === undefined) return;
    const joined = this.#byAddress.get(to);
    if (joined === undefined) this.#byAddress.set(to, new Set([managed]));
    else joined.add(managed);
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
