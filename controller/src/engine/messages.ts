import type { Ifindex, Instant, Ipv4 } from "@mnm/proto/net";
import type { ArpMessage } from "../arp/index.js";
import type { Config, ConfigProblem } from "../config/index.js";
import type { NetworkEvent } from "../events/index.js";
import type { LinkRef } from "../link/index.js";
import type {
  KernelNotification,
  KernelRoute,
  KernelSnapshot,
  ObjectKey,
  Operation,
} from "../reconcile/index.js";
import type { Culprit } from "./culprit.js";

/** What the world tells the engine. */
export type EngineEvent =
  | { readonly kind: "wake" }
  /** A dump that was asked for, by number: an answer to an older question is stale. */
  | { readonly kind: "snapshot"; readonly dump: number; readonly snapshot: KernelSnapshot }
  | { readonly kind: "routes"; readonly dump: number; readonly routes: readonly KernelRoute[] }
  | { readonly kind: "dump-failed"; readonly dump: number; readonly text: string }
  | { readonly kind: "notifications"; readonly batch: readonly KernelNotification[] }
  | { readonly kind: "overrun"; readonly text: string }
  /** Somebody wrote to a link's settings under /proc/sys. */
  | { readonly kind: "setting-changed" }
  /** The host was suspended: the clock has gone on, and whatever waited for it is late. */
  | { readonly kind: "resumed"; readonly sleptMs: number }
  | HelperEvent
  | { readonly kind: "config"; readonly config: Config; readonly file: string }
  | { readonly kind: "config-rejected"; readonly problems: readonly ConfigProblem[] }
  | { readonly kind: "request"; readonly id: number; readonly request: EngineRequest }
  | { readonly kind: "stop" };

/** What comes back from the helper, from the lease store, and from a look at who is running. */
export type HelperEvent =
  | { readonly kind: "helper-ready"; readonly helper: HelperInfo }
  | { readonly kind: "helper-lost"; readonly text: string }
  | { readonly kind: "applied"; readonly results: readonly OperationOutcome[] }
  | { readonly kind: "apply-failed"; readonly text: string }
  | { readonly kind: "packets-opened"; readonly results: readonly PortOutcome[] }
  | {
      readonly kind: "dhcp-packet";
      readonly ifindex: Ifindex;
      readonly payload: Uint8Array;
      readonly source: Ipv4;
    }
  /** The helper received such packets and could not pass them on. */
  | {
      readonly kind: "packets-dropped";
      readonly ifindex: Ifindex;
      readonly counter: PacketDropCounter;
      readonly count: number;
    }
  | { readonly kind: "dhcp-send-failed"; readonly ifindex: Ifindex; readonly text: string }
  | { readonly kind: "arp-packet"; readonly ifindex: Ifindex; readonly packet: Uint8Array }
  /** An ARP packet was not sent, or the helper does not watch what it was asked to. */
  | { readonly kind: "arp-failed"; readonly ifindex: Ifindex; readonly text: string }
  /** MULTI's subscribers were not told. */
  | { readonly kind: "legacy-failed"; readonly text: string }
  | { readonly kind: "lease-loaded"; readonly identity: string; readonly record: unknown }
  | { readonly kind: "culprit-found"; readonly key: ObjectKey; readonly culprit: Culprit };

/**
 * Why the helper did not pass a packet on: something is wrong with it below DHCP, or too many came,
 * for the limit of a link or for us to read.
 */
export type PacketDropCounter =
  | "refused-checksum"
  | "refused-malformed"
  | "refused-overload"
  | "arp-refused-overload";

export interface HelperInfo {
  readonly version: string;
  readonly capabilities: readonly string[];
}

/** How one operation of a batch ended. */
export type OperationOutcome =
  | { readonly kind: "done" }
  | { readonly kind: "skipped" }
  | { readonly kind: "refused"; readonly refusal: Refusal };

export interface PortOutcome {
  readonly ifindex: Ifindex;
  readonly refusal: Refusal | undefined;
}

/** Why the helper or the kernel refused, as it said. */
export interface Refusal {
  readonly code: "malformed" | "not-permitted" | "link-mismatch" | "foreign" | "kernel-refused";
  readonly field: string;
  /** The kernel's errno by name; empty unless it refused. */
  readonly errno: string;
  readonly kernelText: string;
  readonly text: string;
}

/** What an operator asks for. */
export type EngineRequest =
  | {
      readonly kind: "set-metric";
      readonly link: string;
      readonly metric: number;
      readonly swap: boolean;
      readonly persist: boolean;
    }
  | { readonly kind: "renew" | "release" | "reconnect"; readonly link: string }
  | {
      readonly kind: "reload";
      readonly config: Config;
      readonly file: string;
    };

/** What the engine answers to a request. */
export type EngineReply =
  | {
      readonly kind: "metric-set";
      readonly oldMetric: number;
      readonly newMetric: number;
      readonly swappedWith: string;
      readonly oldDefault: string;
      readonly newDefault: string;
      readonly changes: readonly string[];
      readonly persisted: boolean;
    }
  | { readonly kind: "renewing" }
  | { readonly kind: "released" | "reconnecting"; readonly givenUp: GivenUpLease | undefined }
  | { readonly kind: "reloaded"; readonly dropped: readonly string[] }
  | { readonly kind: "refused"; readonly fault: RequestFault };

/** A lease that an operator ended. */
export interface GivenUpLease {
  /** With its prefix length. */
  readonly address: string;
  readonly server: string;
  /** A RELEASE was sent. */
  readonly serverTold: boolean;
}

/** Why a request was not carried out. */
export type RequestFault =
  | { readonly code: "no-such-link"; readonly link: string; readonly links: readonly string[] }
  | { readonly code: "invalid-metric"; readonly metric: number }
  | { readonly code: "metric-taken"; readonly metric: number; readonly holder: string }
  | { readonly code: "metric-foreign"; readonly metric: number; readonly holder: string }
  | { readonly code: "not-managed"; readonly link: string }
  | { readonly code: "no-dhcp"; readonly link: string }
  | { readonly code: "loopback"; readonly link: string; readonly links: readonly string[] }
  | { readonly code: "no-carrier"; readonly link: string; readonly isReleased: boolean }
  | { readonly code: "helper-unavailable"; readonly text: string }
  | { readonly code: "kernel-refused"; readonly refusal: Refusal }
  | { readonly code: "timeout"; readonly text: string };

/** What the engine wants done. The outcome, if any, comes back as an event. */
export type EngineEffect =
  | { readonly kind: "dump"; readonly dump: number; readonly what: "everything" | "routes" }
  | {
      readonly kind: "apply";
      readonly operations: readonly GroupedOperation[];
      readonly now: Instant;
    }
  | { readonly kind: "open-packets"; readonly links: readonly LinkRef[] }
  | { readonly kind: "close-packets"; readonly ifindexes: readonly Ifindex[] }
  | {
      readonly kind: "send-dhcp";
      readonly link: LinkRef;
      readonly unicast: { readonly server: Ipv4; readonly source: Ipv4 } | undefined;
      readonly payload: Uint8Array;
    }
  /** Whose ARP packets are to be received on the link; none ends it. */
  | { readonly kind: "watch-arp"; readonly link: LinkRef; readonly addresses: readonly Ipv4[] }
  | { readonly kind: "send-arp"; readonly link: LinkRef; readonly message: ArpMessage }
  | { readonly kind: "load-lease"; readonly identity: string }
  | { readonly kind: "save-lease"; readonly identity: string; readonly record: unknown }
  | { readonly kind: "forget-lease"; readonly identity: string }
  | { readonly kind: "broadcast-legacy"; readonly events: readonly LegacyEvent[] }
  /** Who keeps changing the object; `requester` is the netlink port of who did so last. */
  | {
      readonly kind: "find-culprit";
      readonly key: ObjectKey;
      readonly requester: number | undefined;
    }
  /** Must have reached the disk, or failed to, before the next effect is performed. */
  | { readonly kind: "save-state"; readonly state: unknown }
  | { readonly kind: "emit"; readonly event: NetworkEvent }
  | { readonly kind: "log"; readonly entry: LogEntry }
  | { readonly kind: "reply"; readonly id: number; readonly reply: EngineReply }
  /** Ends the controller; `isPurging`: once the helper has removed whatever of ours is left. */
  | { readonly kind: "exit"; readonly isPurging: boolean };

/** One message of MULTI's broadcast. */
export interface LegacyEvent {
  readonly ifindex: Ifindex;
  readonly isUp: boolean;
}

export interface GroupedOperation {
  /** Operations of one group depend on one another; see helper.proto. */
  readonly group: number;
  readonly operation: Operation;
}

export interface LogEntry {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}
