import type { Role } from "./peer-role.js";

/** `burst` at once, and `perSec` in the long run. */
export interface Rate {
  readonly burst: number;
  readonly perSec: number;
}

/** What one user may have and do, or all users of one kind together. */
export interface Allowance {
  /** Open at the same time. */
  readonly connections: number;
  readonly connects: Rate;
  /** Open at the same time; subscriptions are calls that stay open. */
  readonly openCalls: number;
  /** In units of {@link callCost}. */
  readonly calls: Rate;
  /** What HTTP/2 gets to read. */
  readonly bytes: Rate;
}

const UNLIMITED: Rate = { burst: Number.POSITIVE_INFINITY, perSec: 0 };
/** May be root and stop us altogether: only mistakes of its own programs are to be survived. */
const TRUSTED = { connects: UNLIMITED, calls: UNLIMITED, bytes: UNLIMITED };

/**
 * What a connection may be: one that is served by its role, or one that is only there to be told
 * that it was refused.
 */
export type Standing = Role | "refused";

/**
 * Each user's share, and that of all users of the kind, because one person may have 65,536 uids
 * (subuid(5)). No number of readers takes anything from owners and admins.
 *
 * Descriptors: an owner or admin has 1, a reader 3 (see meter.ts). That is 1,024 + 256 + 3 × 128
 * + 3 × 16, and some 40 of our own; the unit allows 4,096.
 */
export const ALLOWANCES: Readonly<
  Record<Standing, { readonly each: Allowance; readonly all: Allowance }>
> = {
  // `all`: there are two owners, and neither may lock the other out.
  owner: {
    each: { ...TRUSTED, connections: 512, openCalls: 2_048 },
    all: { ...TRUSTED, connections: 1_024, openCalls: 4_096 },
  },
  admin: {
    each: { ...TRUSTED, connections: 64, openCalls: 256 },
    all: { ...TRUSTED, connections: 256, openCalls: 1_024 },
  },
  // A connection costs 0.1 MB and 0.3 ms to set up, a call 0.3 ms. Frames that nobody needs cost 5 ns
  // a byte, but streams that are opened and reset at once 0.1 ms each, and may be of 28 bytes: it is
  // the burst of bytes that bounds how long readers hold us up at a time, and its rate how busy they
  // keep us. A call is some 100 bytes, with a connection of its own 400.
  reader: {
    each: {
      connections: 32,
      connects: { burst: 40, perSec: 20 },
      openCalls: 32,
      calls: { burst: 100, perSec: 50 },
      bytes: { burst: 16 * 1024, perSec: 16 * 1024 },
    },
    all: {
      connections: 128,
      connects: { burst: 80, perSec: 40 },
      openCalls: 128,
      calls: { burst: 200, perSec: 100 },
      bytes: { burst: 48 * 1024, perSec: 32 * 1024 },
    },
  },
  // So that a person who has forgotten a terminal reads why; a flood is not worth an answer.
  refused: {
    each: {
      connections: 4,
      connects: { burst: 4, perSec: 2 },
      openCalls: 0,
      calls: UNLIMITED,
      bytes: { burst: 4 * 1024, perSec: 1024 },
    },
    all: {
      connections: 16,
      connects: { burst: 16, perSec: 8 },
      openCalls: 0,
      calls: UNLIMITED,
      bytes: { burst: 16 * 1024, perSec: 4 * 1024 },
    },
  },
};

/** A status of 1,000 links takes us as long as many of one link. Never more than there may be. */
export function callCost(links: number): number {
  return Math.min(1 + links / 64, 50);
}

/** Uids that are remembered without a connection. */
export const MOST_USERS = 1_024;

/** gRPC's own, for each connection; of HTTP/2's memory in megabytes. */
export const CHANNEL_OPTIONS = {
  // No request is larger than some kilobytes.
  "grpc.max_receive_message_length": 64 * 1024,
  "grpc.max_concurrent_streams": 32,
  // Unlimited otherwise.
  "grpc-node.max_session_memory": 1,
  "grpc.enable_channelz": 0,
};

/**
 * A connection without a call is closed: half-open and malformed ones, of which Node 20 keeps the
 * descriptor and never learns that the peer has gone, and those that were forgotten. These are the
 * only timers; keepalive would wake us every second.
 */
export const FIRST_CALL_MS = 10_000;
export const IDLE_MS = 120_000;
/** For one that was refused: to ask, and to read the answer. */
export const REFUSED_MS = 2_000;
/** A connection that is being closed has this long to read what was written. */
export const GRACE_MS = 1_000;
/** A call that is no stream is over by then, its request sent and its answer read, or is cut. */
export const UNARY_MS = 30_000;
/** A subscriber that was cut has this long to read why. */
export const CUT_MS = 5_000;

/** Connections that may wait to be accepted, which is up to net.core.somaxconn; more are refused. */
export const BACKLOG = 4_096;
/** Of these are taken at once, 4 µs each when they are refused, before others get their turn. */
export const MOST_ACCEPTED_AT_ONCE = 256;
