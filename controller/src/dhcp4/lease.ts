import { after, type Instant, type Ipv4, type Ipv4Prefix, type PrefixLength } from "@mnm/proto/net";

/** A route that the server asks for, without the default routes: those are `gateways`. */
export interface LeaseRoute {
  readonly destination: Ipv4Prefix;
  /** Undefined: the destination is on the link itself. */
  readonly gateway: Ipv4 | undefined;
}

/** What an ACK says, checked and sanitised, in the units of the wire. */
export interface LeaseTerms {
  readonly address: Ipv4;
  readonly prefixLength: PrefixLength;
  readonly serverId: Ipv4;
  /** Of the default route, in the server's order. May lie outside the prefix. At most 8. */
  readonly gateways: readonly Ipv4[];
  readonly routes: readonly LeaseRoute[];
  readonly dnsServers: readonly Ipv4[];
  readonly ntpServers: readonly Ipv4[];
  readonly domain: string | undefined;
  readonly hostName: string | undefined;
  /** An https URL. RFC 8910. */
  readonly captivePortal: string | undefined;
  readonly searchDomains: readonly string[];
  /** Only where it is the prefix's own broadcast address. */
  readonly broadcast: Ipv4 | undefined;
  readonly mtu: number | undefined;
  /** 10 or more; {@link INFINITE_SEC} for ever. */
  readonly leaseSec: number;
  readonly t1Sec: number | undefined;
  readonly t2Sec: number | undefined;
}

/** A lease that a server granted. RFC 2131 names kept: T1 starts renewing, T2 rebinding. */
export interface Lease {
  readonly terms: LeaseTerms;
  readonly timers: LeaseTimers;
  /** When the request was sent that the server acknowledged: all timers count from here. */
  readonly acquiredAt: Instant;
}

/** T1 ≤ T2 ≤ expiry, and T1 < T2 < expiry for leases of more than 10 s. */
export type LeaseTimers =
  | { readonly kind: "infinite" }
  | {
      readonly kind: "finite";
      readonly t1: Instant;
      readonly t2: Instant;
      readonly expiry: Instant;
    };

/** Lease time of all ones means "for ever". RFC 2131 §3.3. */
export const INFINITE_SEC = 0xffff_ffff;

/** A lease must be at least this long, and a request never follows another lease's sooner. */
export const MIN_LEASE_SEC = 10;

/**
 * The lease of `terms`, its timers counted from `requestedAt`: when the DHCPREQUEST was first
 * sent, not when the ACK came, for the server's clock started no earlier than that (RFC 2131 §4.4.1).
 */
export function leaseOfTerms(terms: LeaseTerms, requestedAt: Instant): Lease {
  return { terms, timers: leaseTimers(requestedAt, terms), acquiredAt: requestedAt };
}

/** Turns the lease times of an ACK into instants. `leaseSec` is 10 or more. */
export function leaseTimers(
  requestedAt: Instant,
  { leaseSec, t1Sec, t2Sec }: Pick<LeaseTerms, "leaseSec" | "t1Sec" | "t2Sec">,
): LeaseTimers {
  if (leaseSec === INFINITE_SEC) return { kind: "infinite" };

  // RFC 2131 §4.4.5 gives the defaults and demands T1 < T2 < lease time, but not what to do
  // otherwise. Taking both defaults keeps one rule for one fault.
  const given1 = t1Sec ?? leaseSec * 0.5;
  const given2 = t2Sec ?? leaseSec * 0.875;
  const isUsable = 0 < given1 && given1 < given2 && given2 < leaseSec;
  const wanted1 = isUsable ? given1 : leaseSec * 0.5;
  const wanted2 = isUsable ? given2 : leaseSec * 0.875;

  // Leases of 10 to 20 s would renew too often. A later T1 pushes T2 half-way to expiry; at
  // exactly 10 s nothing is left to renew in, and the lease is acquired afresh each time.
  const first = Math.max(wanted1, MIN_LEASE_SEC);
  const second = wanted2 > first ? wanted2 : (first + leaseSec) / 2;
  return {
    kind: "finite",
    t1: after(requestedAt, first * 1000),
    t2: after(requestedAt, second * 1000),
    expiry: after(requestedAt, leaseSec * 1000),
  };
}

export function isExpired(lease: Lease, now: Instant): boolean {
  return lease.timers.kind === "finite" && lease.timers.expiry <= now;
}

/** Whether it is time to ask every server, not just the one that granted the lease. */
export function isPastT2(lease: Lease, now: Instant): boolean {
  return lease.timers.kind === "finite" && lease.timers.t2 <= now;
}
