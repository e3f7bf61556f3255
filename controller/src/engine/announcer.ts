import { formatIpv4, type Ipv4 } from "@mnm/proto/net";
import type { ConfigProblem } from "../config/index.js";
import type { EventReason } from "../events/index.js";
import { sharingUplinks } from "../plan/index.js";
import { MNM_PROTOCOL, type ModelChange } from "../reconcile/index.js";
import type { Uplink } from "../uplink/index.js";
import type { Outstanding } from "./convergence.js";
import { LegacyBroadcast } from "./legacy-broadcast.js";
import type { ManagedLink } from "./managed-link.js";
import { formatInterface, type Outbox } from "./outbox.js";
import type { Registry } from "./registry.js";
import type { Repairs } from "./repairs.js";
import { stateOf } from "./uplinks.js";

interface Announced {
  readonly address: Ipv4;
  readonly text: string;
}

/** What is, for comparing with what was said. */
export interface Review {
  /** Those that something happened to, or of which something is outstanding. */
  readonly managed: Iterable<ManagedLink>;
  readonly uplinks: ReadonlyMap<ManagedLink, Uplink>;
  /** Whether these are other uplinks than the last time. */
  readonly isReplanned: boolean;
  readonly outstanding: Outstanding;
  readonly repairs: Repairs;
  readonly defaultLink: string | undefined;
  /** Why the default link may have changed. */
  readonly reason: EventReason;
}

/**
 * Says what changed, by comparing what is with what was said last. An uplink is announced as usable
 * only when the kernel has confirmed all of it, so that a program that binds on hearing it succeeds.
 */
export class Announcer {
  readonly #usable = new Map<ManagedLink, Announced>();
  readonly #metrics = new Map<ManagedLink, number>();
  #sharing = new Set<string>();
  #default: string | undefined;
  readonly legacy = new LegacyBroadcast();

  /** The link has another identity, and with it perhaps another metric, which nobody has changed. */
  rename(managed: ManagedLink): void {
    this.#metrics.delete(managed);
  }

  /** A link or an address, as the kernel reports it. */
  change(change: ModelChange, registry: Registry, outbox: Outbox): void {
    announceChange(change, registry, outbox);
  }

  configRejected(problems: readonly ConfigProblem[], outbox: Outbox): void {
    const text = `configuration refused: ${problems[0]?.text ?? "it has problems"}`;
    outbox.emit("config-rejected", { reason: "config", text });
  }

  /** The link is no longer managed, or no longer there. */
  forget(managed: ManagedLink, reason: EventReason, outbox: Outbox): void {
    this.#metrics.delete(managed);
    this.#unusable(managed, reason, outbox);
  }

  /** Compares what is with what was said, and follows the state of each link. */
  review(scene: Review, outbox: Outbox): void {
    const { managed, uplinks, outstanding, repairs, defaultLink, reason } = scene;
    for (const link of managed) {
      const isConfirmed = !outstanding.isSharedMissing && !outstanding.links.has(link.ifindex);
      this.#reviewUplink(link, uplinks.get(link), isConfirmed, outbox);
      if (isConfirmed) this.#reviewMetric(link, outbox);
      const isFaulty = repairs.blockOf(link.ifindex) !== undefined;
      const kind = stateOf(link, this.#usable.has(link), isFaulty);
      if (link.state.kind !== kind) link.state = { kind, since: outbox.now };
    }
    if (scene.isReplanned) this.#reviewCollisions([...uplinks.values()], outbox);
    // Half-way through an exchange of metrics the default is nobody's business.
    if (outstanding.isQuiet) this.#reviewDefault(defaultLink, reason, outbox);
  }

  /**
   * Compares one managed link with what was said of it.
   *
   * @param isConfirmed the kernel holds all that the plan wants for this uplink
   */
  #reviewUplink(
    managed: ManagedLink,
    uplink: Uplink | undefined,
    isConfirmed: boolean,
    outbox: Outbox,
  ): void {
    const announced = this.#usable.get(managed);
    const carries = uplink !== undefined && !uplink.dormant;
    const moved =
      carries && announced !== undefined && announced.address !== uplink.addressing.address;
    if (announced !== undefined && (!carries || moved)) {
      this.#unusable(managed, reasonOfLoss(managed), outbox);
    }
    if (!carries || !isConfirmed || this.#usable.has(managed)) return;
    const { address, length } = uplink.addressing;
    const text = formatInterface(address, length);
    this.#usable.set(managed, { address, text });
    this.legacy.note({ ifindex: managed.ifindex, isUp: true });
    outbox.emit("uplink-usable", {
      reason: managed.method.kind === "dhcp" ? "lease" : "config",
      link: managed.eventLink,
      after: text,
      text: `usable: ${text}, table ${uplink.table}, metric ${uplink.metric}`,
    });
  }

  /** Metrics, compared with what was said; the first one of a link is no change. */
  #reviewMetric(managed: ManagedLink, outbox: Outbox): void {
    const value = managed.metric?.value;
    const before = this.#metrics.get(managed);
    if (value === undefined || value === before) return;
    this.#metrics.set(managed, value);
    if (before === undefined) return;
    outbox.emit("metric-changed", {
      reason:
        managed.metric?.source === "runtime" || managed.metric?.source === "persisted"
          ? "operator"
          : "config",
      link: managed.eventLink,
      before: String(before),
      after: String(value),
      text: `metric ${before} became ${value}`,
    });
  }

  #reviewDefault(name: string | undefined, reason: EventReason, outbox: Outbox): void {
    if (name === this.#default) return;
    const before = this.#default;
    this.#default = name;
    outbox.emit("default-changed", {
      reason,
      before: before ?? "",
      after: name ?? "",
      text:
        name === undefined ? "no default link: unbound traffic has no way out" : `default: ${name}`,
    });
  }

  /** Uplinks that have come to have the same address as another. */
  #reviewCollisions(uplinks: readonly Uplink[], outbox: Outbox): void {
    const sharing = sharingUplinks(uplinks);
    for (const { identity, link, addressing } of sharing) {
      if (this.#sharing.has(identity)) continue;
      const address = formatIpv4(addressing.address);
      outbox.emit("conflict", {
        reason: "collision",
        link: { identity, name: link.name, ifindex: link.ifindex },
        after: address,
        text: `address ${address} is on another uplink too; rules by address belong to one of them`,
      });
    }
    this.#sharing = new Set([...sharing].map(({ identity }) => identity));
  }

  #unusable(managed: ManagedLink, reason: EventReason, outbox: Outbox): void {
    const announced = this.#usable.get(managed);
    if (announced === undefined) return;
    this.#usable.delete(managed);
    this.legacy.note({ ifindex: managed.ifindex, isUp: false });
    outbox.emit("uplink-unusable", {
      reason,
      link: managed.eventLink,
      before: announced.text,
      text: `unusable: ${LOSS_TEXTS[reason] ?? "withdrawn"}`,
    });
  }
}

const LOSS_TEXTS: Partial<Record<EventReason, string>> = {
  carrier: "carrier lost",
  admin: "set down",
  lease: "lease ended or changed",
  link: "link is gone",
  config: "no longer managed",
  operator: "lease given up",
  collision: "its address is in use elsewhere",
};

function reasonOfLoss({ link, farewell, dhcp }: ManagedLink): EventReason {
  if (!link.adminUp) return "admin";
  if (farewell !== "none") return "operator";
  if (!link.carrier) return "carrier";
  const isDeclined = dhcp.kind === "init" && dhcp.setbacks.last?.kind === "taken";
  return isDeclined ? "collision" : "lease";
}

function announceChange(change: ModelChange, registry: Registry, outbox: Outbox): void {
  switch (change.kind) {
    case "link-added":
    case "link-removed": {
      const { link } = change;
      if (link.loopback) return;
      const text = change.kind === "link-added" ? "link appeared" : "link is gone";
      outbox.emit(change.kind, { reason: "link", link: eventLinkOf(link, registry), text });
      return;
    }
    case "link-changed":
      announceLinkChange(change, registry, outbox);
      return;
    case "address-added":
    case "address-removed": {
      const { ifindex, address, length } = change.address;
      const managed = registry.managed.get(ifindex);
      if (managed === undefined) return;
      const text = formatInterface(address, length);
      const isAdded = change.kind === "address-added";
      outbox.emit(change.kind, {
        reason: change.address.protocol === MNM_PROTOCOL ? "lease" : "external",
        link: managed.eventLink,
        ...(isAdded ? { after: text } : { before: text }),
        text: isAdded ? `address ${text} added` : `address ${text} removed`,
      });
      return;
    }
    case "disturbed":
    case "freed":
      return;
  }
}

function announceLinkChange(
  { before, link }: ModelChange & { kind: "link-changed" },
  registry: Registry,
  outbox: Outbox,
): void {
  const eventLink = eventLinkOf(link, registry);
  if (before.name !== link.name) {
    outbox.emit("link-renamed", {
      reason: "external",
      link: eventLink,
      before: before.name,
      after: link.name,
      text: `renamed from ${before.name}`,
    });
  }
  if (before.carrier !== link.carrier && registry.managed.has(link.ifindex)) {
    outbox.emit("carrier-changed", {
      reason: link.adminUp ? "carrier" : "admin",
      link: eventLink,
      before: before.carrier ? "up" : "down",
      after: link.carrier ? "up" : "down",
      text: link.carrier ? "carrier is back" : "carrier lost",
    });
  }
}

function eventLinkOf(
  {
    ifindex,
    name,
  }: { readonly ifindex: ManagedLink["ifindex"]; readonly name: ManagedLink["name"] },
  registry: Registry,
) {
  const identity = registry.managed.get(ifindex)?.identity ?? `name:${name}`;
  return { identity, name, ifindex };
}
