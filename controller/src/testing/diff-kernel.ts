import type { RoutingPlan } from "../plan/index.js";
import { compare, inOrder, type KernelView, putSettings, putsOf } from "../reconcile/diff.js";
import type { Operation, WantedSettings } from "../reconcile/index.js";
import { operationKey } from "../reconcile/index.js";

/** The difference between plan and kernel, from all that either has: what `Reconciler` must come to. */
export function diffKernel(
  plan: RoutingPlan,
  wantedSettings: readonly WantedSettings[],
  kernel: KernelView,
): readonly Operation[] {
  const puts = [...wantedSettings.map(putSettings), ...putsOf(plan)];
  const wanted = new Map(puts.map((put) => [operationKey(put), put]));
  const present = [kernel.routes, kernel.rules, kernel.addresses].flatMap((map) => [...map.keys()]);
  const keys = new Set([...wanted.keys(), ...present]);
  const operations = [...keys].flatMap((key) => compare(key, wanted.get(key), kernel) ?? []);
  return inOrder(operations, wanted, kernel);
}
