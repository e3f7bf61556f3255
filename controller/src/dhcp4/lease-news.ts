import type { Lease } from "./lease.js";
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

/** Why a lease is gone follows from what happened: each event has one way to lose it. */
const LOSS_REASONS: Readonly<Record<DhcpEvent["kind"], LossReason>> = {
  wake: "expired",
  packet: "refused",
  conflict: "declined",
  release: "released",
  stop: "stopped",
  start: "stopped",
  renew: "stopped",
  check: "stopped",
};

/** What is to be announced. Leases announced are therefore leases held, whatever the machine does. */
export function leaseNews({ before, after, event, remarks }: Change): readonly DhcpEffect[] {
  const had = leaseOf(before);
  const lease = leaseOf(after);
  if (lease === undefined) {
    const reason = LOSS_REASONS[event.kind];
    return had === undefined ? [] : [{ kind: "lease-lost", lease: had, reason }];
  }
  const isNewlyRebinding = after.kind === "rebinding" && before.kind !== "rebinding";
  return [
    ...arrival(had, lease, remarks),
    ...(isNewlyRebinding ? [{ kind: "lease-rebinding", lease } as const] : []),
  ];
}

function arrival(
  had: Lease | undefined,
  lease: Lease,
  remarks: readonly LeaseRemark[],
): readonly DhcpEffect[] {
  if (had === undefined) return [{ kind: "lease-bound", lease, remarks }];
  return had === lease ? [] : [{ kind: "lease-renewed", lease, before: had, remarks }];
}
