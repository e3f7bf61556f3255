import { ownersOfAddresses, planShared, planUplink, type RoutingPlan } from "../plan/index.js";
import type { Uplink } from "../uplink/index.js";

/** What the kernel should hold for all of these, as the engine plans it one uplink at a time. */
export function planRouting(uplinks: readonly Uplink[]): RoutingPlan {
  const owners = ownersOfAddresses(uplinks);
  const parts = uplinks.map((uplink) => planUplink(uplink, owners));
  return {
    addresses: parts.flatMap(({ addresses }) => addresses),
    routes: parts.flatMap(({ routes }) => routes),
    rules: [...planShared(uplinks), ...parts.flatMap(({ rules }) => rules)],
  };
}
