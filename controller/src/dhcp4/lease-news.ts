import { assertNever, type Instant } from "@mnm/proto/net";
import { isExpired, type Lease } from "./lease.js";
import type { LeaseRemark } from "./options.js";
import {
  type DhcpEffect,
  type DhcpEvent,
  type DhcpState,
  type LossReason,
  leaseOf,
} from "./state.js";

/** A step, as far as it bears on leases. */
interface Change {
  readonly before: DhcpState;
  readonly after: DhcpState;
  readonly event: DhcpEvent;
  /** About the lease that the step brings. */
  readonly remarks: readonly LeaseRemark[];
}

/** What is to be announced. Leases announced are therefore leases held, whatever the machine does. */
export function leaseNews(
  { before, after, event, remarks }: Change,
  now: Instant,
): readonly DhcpEffect[] {
  const had = leaseOf(before);
  const lease = leaseOf(after);
  if (lease === undefined) {
    return had === undefined
      ? refusal({ before, after, event })
      : [{ kind: "lease-lost", lease: had, reason: lossReason(had, event, now) }];
  }
  const isNewlyRebinding = after.kind === "rebinding" && before.kind !== "rebinding";
  return [
    ...arrival(had, lease, remarks),
    ...(isNewlyRebinding ? [{ kind: "lease-rebinding", lease } as const] : []),
  ];
}

/** A packet that ends the question for a remembered lease without an answer that gives it. */
function refusal({ before, after, event }: Omit<Change, "remarks">): readonly DhcpEffect[] {
  const isAnswered = event.kind === "packet" && after.kind !== "rebooting";
  if (!isAnswered || before.kind !== "rebooting") return [];
  return [{ kind: "remembered-refused", lease: before.claim.lease }];
}

/** Why a lease is gone follows from what happened: no two ways to lose it look alike. */
function lossReason(lease: Lease, event: DhcpEvent, now: Instant): LossReason {
  switch (event.kind) {
    case "wake":
      return isExpired(lease, now) ? "expired" : "unconfirmed";
    case "packet":
      return "refused";
    case "conflict":
      return "declined";
    case "release":
      return "released";
    case "stop":
    case "start":
    case "renew":
    case "check":
    case "same-network":
      return "stopped";
    default:
      return assertNever(event);
  }
}

function arrival(
  had: Lease | undefined,
  lease: Lease,
  remarks: readonly LeaseRemark[],
): readonly DhcpEffect[] {
  if (had === undefined) return [{ kind: "lease-bound", lease, remarks }];
  return had === lease ? [] : [{ kind: "lease-renewed", lease, before: had, remarks }];
}
