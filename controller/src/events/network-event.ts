import type { Ifindex, Instant, LinkName } from "@mnm/proto/net";

/** What can happen, in the words of `mnm.v1.EventKind`. */
export type EventKind =
  | "link-added"
  | "link-removed"
  | "link-renamed"
  | "carrier-changed"
  | "address-added"
  | "address-removed"
  | "uplink-usable"
  | "uplink-unusable"
  | "metric-changed"
  | "default-changed"
  | "lease-bound"
  | "lease-renewed"
  | "lease-rebinding"
  | "lease-expired"
  | "lease-refused"
  | "lease-declined"
  | "conflict"
  | "external-change"
  | "contended"
  | "uncontended"
  | "resynced"
  | "config-applied"
  | "config-rejected"
  | "fault";

/** Why it happened, in the words of `mnm.v1.Reason`. */
export type EventReason =
  | "unspecified"
  | "link"
  | "carrier"
  | "admin"
  | "lease"
  | "operator"
  | "config"
  | "external"
  | "overrun"
  | "start"
  | "helper"
  | "refused"
  | "collision"
  | "audit";

export interface NetworkEvent {
  readonly kind: EventKind;
  readonly reason: EventReason;
  /** The link as it was named then; undefined for events of the host. */
  readonly link: EventLink | undefined;
  readonly before: string;
  readonly after: string;
  /** One sentence for people. */
  readonly text: string;
}

export interface EventLink {
  readonly identity: string;
  readonly name: LinkName;
  readonly ifindex: Ifindex;
}

/** An event in its place in the journal. */
export interface JournalEntry {
  readonly sequence: number;
  /** Milliseconds since 1970, for people. */
  readonly wallMs: number;
  readonly at: Instant;
  readonly event: NetworkEvent;
}
