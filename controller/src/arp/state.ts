/** What the guard (guard.ts) is made of: its states, events and effects. */
import type { Instant, Ipv4, MacAddress } from "@mnm/proto/net";
import type { ArpMessage, ArpPacket } from "./packet.js";

export type GuardState =
  /** The link has no address that we would have to guard. */
  { readonly kind: "unguarded" } | Guarded;

export interface Guarded {
  readonly kind: "guarded";
  readonly address: Ipv4;
  readonly gateway: Ipv4 | undefined;
  /** The MAC that the gateway last answered from; undefined until then. */
  readonly gatewayMac: MacAddress | undefined;
  readonly duty: Duty;
  readonly inquiry: Inquiry;
  /** When probing last began: a carrier that flaps must not make a storm of probes. */
  readonly probedAt: Instant | undefined;
  /** A check that came too soon after `probedAt` is made up for then. */
  readonly recheckAt: Instant | undefined;
  /** When somebody else was last seen to use the address, after it was claimed. */
  readonly contestedAt: Instant | undefined;
}

/** What is done for the address. */
export type Duty =
  /** Is it in use? `dueAt`: the next probe, and after the last one the end of listening. */
  | {
      readonly kind: "probing";
      /** Of an address that is ours already, only its use by others counts, not their probes. */
      readonly cause: "claim" | "check";
      readonly mode: ConflictMode;
      readonly sent: number;
      readonly dueAt: Instant;
    }
  | { readonly kind: "announcing"; readonly sent: number; readonly dueAt: Instant }
  | { readonly kind: "watching" };

/** What is done to know the gateway. */
export type Inquiry =
  | { readonly kind: "none" }
  /** By broadcast: which MAC has it? `dueAt`: the next request, at last the end of waiting. */
  | { readonly kind: "learning"; readonly sent: number; readonly dueAt: Instant }
  /** By unicast: is it still there? RFC 4436. */
  | {
      readonly kind: "asking";
      readonly mac: MacAddress;
      readonly sent: number;
      readonly dueAt: Instant;
    };

/** `strict` probes before the address is used, `optimistic` while it is. */
export type ConflictMode = "optimistic" | "strict";

export const UNGUARDED: GuardState = { kind: "unguarded" };

export type GuardEvent =
  /** The link got a lease of this address. */
  | {
      readonly kind: "claim";
      readonly address: Ipv4;
      readonly gateway: Ipv4 | undefined;
      readonly mode: ConflictMode;
    }
  /** The address has been in force since an earlier run of ours. */
  | { readonly kind: "adopt"; readonly address: Ipv4; readonly gateway: Ipv4 | undefined }
  /** The lease's gateway became another. */
  | { readonly kind: "gateway"; readonly gateway: Ipv4 | undefined }
  /** A server has confirmed the lease. */
  | { readonly kind: "confirm" }
  /** The link has no address of ours any more. */
  | { readonly kind: "drop" }
  /** Carrier is back, or the host resumed: probe again, ask the gateway. */
  | { readonly kind: "check" }
  | { readonly kind: "wake" }
  | { readonly kind: "packet"; readonly packet: ArpPacket };

export type GuardEffect =
  /** Whose packets are to be delivered from now on; none: nobody's. */
  | { readonly kind: "watch"; readonly addresses: readonly Ipv4[] }
  | { readonly kind: "send"; readonly message: ArpMessage }
  /** Probing has ended without conflict; in strict mode the address may be used from now on. */
  | { readonly kind: "claimed" }
  /** Somebody else uses the address. Not defended: it is given up, and guarded no longer. */
  | {
      readonly kind: "conflict";
      readonly address: Ipv4;
      readonly mac: MacAddress;
      readonly isDefended: boolean;
    }
  /** After a check: the gateway answered from the MAC that it had. */
  | { readonly kind: "same-network" };
