import {
  type Operation,
  type OperationResult,
  OperationResult_Outcome as Outcome,
} from "@mnm/proto/helper";
import { formatIpv4, ipv4FromUint32 } from "@mnm/proto/net";
import { KernelFacts } from "./facts.js";
import { attempt, demand, encodeFault } from "./fault.js";
import { log } from "./log.js";
import { deleteAddress, putAddress } from "./operations/address.js";
import type { OperationContext } from "./operations/check.js";
import { putLinkSettings } from "./operations/link-settings.js";
import { deleteRoute, putRoute } from "./operations/route.js";
import { deleteRule, putRule } from "./operations/rule.js";
import type { Peer } from "./sys.js";

export interface ApplyContext extends Omit<OperationContext, "facts"> {
  /** On whose behalf: for the log. */
  readonly peer: Peer;
}

/**
 * Checks and performs the operations in order, one result for each. Every step is synchronous,
 * so that nothing of this program comes between what a check saw and what the write meets.
 */
export function applyOperations(
  operations: readonly Operation[],
  context: ApplyContext,
): readonly OperationResult[] {
  const facts = new KernelFacts(context.socket);
  const failedGroups = new Set<number>();
  return operations.map(({ group, change }) => {
    if (failedGroups.has(group)) return { outcome: Outcome.SKIPPED, fault: undefined };
    const text = `${change?.$case ?? "unknown"} ${describe(change?.value)}`;
    const result = resultOf(text, context.peer, () => perform(change, { ...context, facts }));
    if (result.outcome === Outcome.REFUSED) failedGroups.add(group);
    return result;
  });
}

/** Runs one item of a call, logs in one line who asked, for what, and how it ended, and says so. */
export function resultOf(operation: string, peer: Peer, run: () => unknown): OperationResult {
  const result = attempt(run);
  if (result.ok) {
    log.info("Done", { operation, ...peer });
    return { outcome: Outcome.DONE, fault: undefined };
  }
  const fault = encodeFault(result.error, operation);
  log.warn(fault.text, { code: result.error.code, ...peer });
  return { outcome: Outcome.REFUSED, fault };
}

export function isDone({ outcome }: OperationResult): boolean {
  return outcome === Outcome.DONE;
}

function perform(change: Operation["change"], context: OperationContext): void {
  demand(change !== undefined, "malformed", "change", "present and known");
  dispatch(VERBS, change, context);
}

const VERBS = {
  ...{ putAddress, deleteAddress, putRoute, deleteRoute, putRule, deleteRule },
  putLinkSettings,
};

/** Runs what there is for the case of a oneof; that there is something for each, the types say. */
export function dispatch<Requests, Name extends keyof Requests, Rest extends unknown[], Outcome>(
  verbs: { readonly [Each in keyof Requests]: (request: Requests[Each], ...rest: Rest) => Outcome },
  of: { [Each in keyof Requests]: { readonly $case: Each; readonly value: Requests[Each] } }[Name],
  ...rest: Rest
): Outcome {
  return verbs[of.$case](of.value, ...rest);
}

const ADDRESSES = `address addresses broadcast peer network gateway preferredSource from server
  source sender target`.split(/\s+/);

/** A request as text for people, before anything of it was checked: so all lengths are bounded. */
export function describe(value: unknown, field = ""): string {
  if (value instanceof Uint8Array) {
    return value.length > 6 ? `(${value.length} bytes)` : Buffer.from(value).toString("hex");
  }
  if (Array.isArray(value)) return `${value.slice(0, 4).map((one) => describe(one, field))}`;
  if (typeof value === "object" && value !== null) {
    const present = Object.entries(value).filter(([, one]) => one !== undefined && one !== "");
    const inner = present.map(([key, one]) => `${key}=${describe(one, key)}`).join(" ");
    return field === "" ? inner : `(${inner})`;
  }
  const isAddress = typeof value === "number" && ADDRESSES.includes(field);
  return isAddress ? formatIpv4(ipv4FromUint32(value)) : String(value).slice(0, 32);
}
