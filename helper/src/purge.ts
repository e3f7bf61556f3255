import type { PurgeOwnedResponse } from "@mnm/proto/helper";
import { formatRule, MessageType, RouteType } from "netlink/dist/rt/gen_structs.js";
import { type AllowList, MAIN_TABLE, MNM_PROTOCOL } from "./allow-list.js";
import { type ApplyContext, describe, isDone, resultOf } from "./apply.js";
import { dumpRoutes, KernelFacts, parseKernelRule } from "./facts.js";
import { attempt } from "./fault.js";
import { removeAddress } from "./operations/address.js";
import { isAllowedLink, isOwnTable } from "./operations/check.js";
import { checkPlace } from "./operations/route.js";
import { isRulePriority } from "./operations/rule.js";
import { AF_INET } from "./sys.js";

/**
 * Removes what carries protocol 77 and what a verb could have put, and nothing else.
 *
 * Rules and routes are deleted as ip(8) flushes them: by the very description in which the kernel
 * listed them, so that also those go that no verb can name, such as one that names no link.
 */
export function purgeOwned(context: ApplyContext): PurgeOwnedResponse {
  const { allow, socket } = context;
  const facts = new KernelFacts(socket);
  const mayTouch = (ifindex: number): boolean => {
    const link = facts.link(ifindex);
    return link !== undefined && isAllowedLink(link, allow);
  };
  const removed = { rules: 0, routes: 0, addresses: 0, failed: 0 };
  const remove = (kind: keyof typeof removed, what: object, run: () => unknown): void => {
    const result = resultOf(`purgeOwned ${kind}: ${describe(what)}`, context.peer, run);
    removed[isDone(result) ? kind : "failed"] += 1;
  };
  // Rules first, so that no traffic is led into a table that is being emptied.
  for (const payload of socket.dump(MessageType.GETRULE, [formatRule({ family: AF_INET })])) {
    const { protocol, priority, table } = parseKernelRule(payload);
    const isOurs = protocol === MNM_PROTOCOL && isRulePriority(priority);
    if (!isOurs || !isRuleTable(allow, table)) continue;
    const run = () => socket.change(MessageType.DELRULE, 0, [payload], "ENOENT");
    remove("rules", { priority, table }, run);
  }
  for (const { payload, ...route } of dumpRoutes(socket, { protocol: MNM_PROTOCOL })) {
    const { type, ifindex, table, network, length, metric } = route;
    const place = { table, type, metric, destination: { length } };
    // Without a link and yet unicast: it has several, and no verb puts such a route.
    const isOurs = type === RouteType.UNICAST ? mayTouch(ifindex) : ifindex === 0;
    if (!isOurs || !attempt(() => checkPlace(allow, place)).ok) continue;
    const run = () => socket.change(MessageType.DELROUTE, 0, [payload], "ESRCH");
    remove("routes", { table, network, length, metric }, run);
  }
  for (const held of facts.addresses()) {
    if (held.protocol !== MNM_PROTOCOL || !mayTouch(held.ifindex)) continue;
    const { ifindex, address } = held;
    remove("addresses", { ifindex, address }, () => removeAddress(held, context));
  }
  return removed;
}

/** Main is that of rule 9500, and none that of an unreachable rule. */
function isRuleTable(allow: AllowList, table: number): boolean {
  return table === 0 || table === MAIN_TABLE || isOwnTable(allow, table);
}
