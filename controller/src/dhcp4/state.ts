/** What the DHCP machine (client.ts) is made of: its states, events and effects. */
import { assertNever, type Instant, type Ipv4 } from "@mnm/proto/net";
import { type Holder, NO_SETBACKS, type RandomUint32, type Setbacks } from "./backoff.js";
import type { ClientMessage, DhcpConfig, NotAReply } from "./codec.js";
import type { Lease } from "./lease.js";
import type { LeaseRemark } from "./options.js";
import type { UnusableTerms } from "./terms.js";

export type DhcpState =
  /** A row of setbacks outlasts it: carrier that flaps must not end one. */
  | { readonly kind: "stopped"; readonly setbacks: Setbacks }
  /** Waits after a setback; without one, init is left in the step that enters it. */
  | { readonly kind: "init"; readonly retryAt: Instant; readonly setbacks: Setbacks }
  | {
      readonly kind: "selecting";
      readonly exchange: Exchange;
      /** The address that servers are asked for: one that we had. */
      readonly wanted: Ipv4 | undefined;
      readonly setbacks: Setbacks;
    }
  | {
      readonly kind: "requesting";
      readonly exchange: Exchange;
      readonly offer: Offer;
      readonly setbacks: Setbacks;
    }
  /** A lease in force is about to be checked, but the last request was a moment ago. */
  | {
      readonly kind: "init-reboot";
      readonly sendAt: Instant;
      readonly lease: Lease;
      readonly evidence: NetworkEvidence;
      readonly setbacks: Setbacks;
    }
  | {
      readonly kind: "rebooting";
      readonly exchange: Exchange;
      readonly claim: Claim;
      readonly setbacks: Setbacks;
    }
  | { readonly kind: "bound"; readonly lease: Lease; readonly setbacks: Setbacks }
  | {
      readonly kind: "renewing" | "rebinding";
      readonly exchange: Exchange;
      readonly lease: Lease;
      readonly setbacks: Setbacks;
    };

export type State<Kind extends DhcpState["kind"]> = DhcpState & { readonly kind: Kind };

/** The states in which an ACK or NAK is awaited. */
export type Asking = State<"requesting"> | State<"rebooting"> | State<"renewing" | "rebinding">;

/** One question to the servers. Replies belong to it when they carry its xid. */
export interface Exchange {
  readonly xid: number;
  /** `secs` counts from here: when we began to acquire or to renew. */
  readonly beganAt: Instant;
  /** When this xid was first sent: the timers of a lease that it brings count from here. */
  readonly requestedAt: Instant;
  /** Transmissions so far, at least 1, and the time of the last. */
  readonly sent: number;
  readonly sentAt: Instant;
  readonly resendAt: Instant;
}

export interface Offer {
  readonly address: Ipv4;
  readonly serverId: Ipv4;
  /** Of the DISCOVER that it answers: the REQUEST must repeat it (RFC 2131 §4.4.1). */
  readonly secs: number;
}

/** A lease that a server is asked to confirm: one in force, or one of an earlier life. */
export type Claim =
  | { readonly kind: "held"; readonly lease: Lease; readonly evidence: NetworkEvidence }
  | { readonly kind: "remembered"; readonly lease: Lease };

/**
 * What the lease's gateway, asked by ARP beside the servers, has said since the last check:
 * it was not asked, it has not answered, or it is the one that we know (RFC 4436).
 */
export type NetworkEvidence = "unasked" | "asked" | "same";

export const STOPPED: State<"stopped"> = { kind: "stopped", setbacks: NO_SETBACKS };

/** A lease of an earlier run. */
export type RememberedLease =
  /** Its address is still on the link: it is in force at once, without a packet. */
  | { readonly kind: "adopt"; readonly lease: Lease }
  /** The server is asked whether it still holds: INIT-REBOOT. */
  | { readonly kind: "reboot"; readonly lease: Lease };

export type DhcpEvent =
  /** The link can carry packets. */
  | { readonly kind: "start"; readonly remembered: RememberedLease | undefined }
  /** The link cannot carry packets, or is no longer ours. Sends nothing. */
  | { readonly kind: "stop" }
  /** Gives the lease back, then stops. */
  | { readonly kind: "release" }
  /** An operator wants an answer from a server now. */
  | { readonly kind: "renew" }
  /**
   * Carrier has come back, or the host has resumed: is this still the same network? Or what stood
   * in the way of a lease is gone.
   * `gatewayAsked`: somebody also asks the lease's gateway, by ARP to the MAC that it had.
   */
  | { readonly kind: "check"; readonly gatewayAsked: boolean }
  /** The gateway that was asked has answered. */
  | { readonly kind: "same-network" }
  /** Somebody else has the address. */
  | { readonly kind: "conflict"; readonly holder: Holder }
  | { readonly kind: "wake" }
  | { readonly kind: "packet"; readonly payload: Uint8Array; readonly source: Ipv4 };

export type DhcpEffect =
  | {
      readonly kind: "send";
      readonly message: ClientMessage;
      readonly to: SendTo;
      readonly payload: Uint8Array;
    }
  /** The lease is in force; also when adopted. */
  | {
      readonly kind: "lease-bound";
      readonly lease: Lease;
      readonly remarks: readonly LeaseRemark[];
    }
  /** `lease` takes the place of `before`. Any of its terms may have changed. */
  | {
      readonly kind: "lease-renewed";
      readonly lease: Lease;
      readonly before: Lease;
      readonly remarks: readonly LeaseRemark[];
    }
  /** T2 has passed: the server that granted the lease does not answer. */
  | { readonly kind: "lease-rebinding"; readonly lease: Lease }
  | { readonly kind: "lease-lost"; readonly lease: Lease; readonly reason: LossReason }
  /** A lease of an earlier life is none any more: a server said NAK, or we declined what it said. */
  | { readonly kind: "remembered-refused"; readonly lease: Lease }
  | { readonly kind: "reply-ignored"; readonly reason: IgnoreReason };

export type SendTo =
  | { readonly kind: "broadcast" }
  | { readonly kind: "unicast"; readonly server: Ipv4; readonly source: Ipv4 };

/**
 * `refused`: a server said NAK. `unconfirmed`: after a check neither a server nor the gateway
 * answered.
 */
export type LossReason =
  | "expired"
  | "refused"
  | "unconfirmed"
  | "declined"
  | "released"
  | "stopped";

/** Why a packet did not do what its sender may have wanted. */
export type IgnoreReason =
  | NotAReply
  | UnusableTerms
  | "wrong-xid"
  | "wrong-server"
  | "not-expected"
  | "rapid-commit-unasked"
  | "lease-already-over";

export interface Step {
  readonly state: DhcpState;
  readonly effects: readonly DhcpEffect[];
}

/** The world as of this step; tests pass literals. */
export interface StepContext {
  readonly now: Instant;
  /** A fresh uint32, unpredictable in production. */
  readonly randomUint32: RandomUint32;
  readonly config: DhcpConfig;
}

/** When to deliver `wake`, or undefined while only a packet or a command can help. */
export function deadline(state: DhcpState): Instant | undefined {
  switch (state.kind) {
    case "stopped":
      return undefined;
    case "init":
      return state.retryAt;
    case "selecting":
    case "requesting":
      return state.exchange.resendAt;
    case "init-reboot":
      return earlier(state.sendAt, timerOf(state.lease, "expiry"));
    case "rebooting":
      return earlier(state.exchange.resendAt, timerOf(leaseOf(state), "expiry"));
    case "bound":
      return timerOf(state.lease, "t1");
    case "renewing":
      return earlier(state.exchange.resendAt, timerOf(state.lease, "t2"));
    case "rebinding":
      return earlier(state.exchange.resendAt, timerOf(state.lease, "expiry"));
    default:
      return assertNever(state);
  }
}

export function isDue(state: DhcpState, now: Instant): boolean {
  const due = deadline(state);
  return due !== undefined && due <= now;
}

/** The lease in force: the one that was announced last and has not been lost. */
export function leaseOf(state: DhcpState): Lease | undefined {
  switch (state.kind) {
    case "stopped":
    case "init":
    case "selecting":
    case "requesting":
      return undefined;
    case "rebooting":
      return state.claim.kind === "held" ? state.claim.lease : undefined;
    case "init-reboot":
    case "bound":
    case "renewing":
    case "rebinding":
      return state.lease;
    default:
      return assertNever(state);
  }
}

/** The state with what is now known of the network, where that is in question. */
export function withEvidence<S extends DhcpState>(state: S, evidence: NetworkEvidence): S {
  if (state.kind === "init-reboot") return { ...state, evidence };
  if (state.kind !== "rebooting" || state.claim.kind !== "held") return state;
  return { ...state, claim: { ...state.claim, evidence } };
}

/** The one server that may answer; undefined when every server was asked. */
export function askedServer(state: Asking): Ipv4 | undefined {
  if (state.kind === "requesting") return state.offer.serverId;
  return state.kind === "renewing" ? state.lease.terms.serverId : undefined;
}

/** The address that is asked for, or asked to be extended. */
export function askedAddress(state: Asking): Ipv4 {
  if (state.kind === "requesting") return state.offer.address;
  const { lease } = state.kind === "rebooting" ? state.claim : state;
  return lease.terms.address;
}

/** The address that was asked for by name. */
export function requestedAddress(state: Asking | State<"selecting">): Ipv4 | undefined {
  if (state.kind === "requesting") return state.offer.address;
  return state.kind === "rebooting" ? state.claim.lease.terms.address : undefined;
}

function timerOf(lease: Lease | undefined, timer: "t1" | "t2" | "expiry"): Instant | undefined {
  return lease?.timers.kind === "finite" ? lease.timers[timer] : undefined;
}

function earlier(a: Instant, b: Instant | undefined): Instant {
  return b !== undefined && b < a ? b : a;
}
