import { type DeleteRule, type PutRule, RuleKind } from "@mnm/proto/helper";
import * as net from "@mnm/proto/net";
import * as rt from "netlink/dist/rt/gen_structs.js";
import { putU32be, type StreamData } from "netlink/dist/structs.js";
import { type AllowList, MAIN_TABLE, MNM_PROTOCOL } from "../allow-list.js";
import { demand } from "../fault.js";
import { CREATE_EXCL } from "../route-socket.js";
import { AF_INET, u32 } from "../sys.js";
import * as check from "./check.js";

type Field = "device" | "from" | "to" | "table" | "metric";

/** Where a kind stands, what it says, and the table of one that does not say it. */
type Shape = readonly [priority: number, fields: readonly Field[], table?: number];

// A map, since the caller may send any number where the generated type promises one of these.
const SHAPES: ReadonlyMap<number, Shape> = new Map([
  [RuleKind.DEVICE, [9000, ["device", "table"]]],
  [RuleKind.SOURCE_TO_CONNECTED, [9400, ["from", "to", "table"]]],
  [RuleKind.MAIN_WITHOUT_DEFAULTS, [9500, [], MAIN_TABLE]],
  [RuleKind.SOURCE, [10_000, ["from", "table"]]],
  [RuleKind.SOURCE_UNREACHABLE, [10_500, ["from"]]],
  [RuleKind.CONNECTED, [20_000, ["to", "table", "metric"]]],
]);

export function checkPutRule(request: PutRule, context: check.CheckContext) {
  const rule = checkDeleteRule(request, context);
  if (rule.kind === RuleKind.MAIN_WITHOUT_DEFAULTS) {
    demand(request.link === undefined, "malformed", "link", "absent: this rule is for no link");
    return rule;
  }
  const link = check.checkLink(request.link, context);
  const { device = link.name, from, to, table } = rule;
  demand(device === link.name, "not-permitted", "device", `the name of the link, ${link.name}`);
  // `unreachable` comes before the address, so that nothing leaks in between. It must not cut
  // off an address of a link that is not ours.
  if (from !== undefined && table === undefined) check.checkNotTaken("from", from, context);
  else if (from !== undefined) check.checkOwn("from", from, { link, facts: context.facts });
  const isConnected = check
    .addressesOf(link, context.facts)
    .some(({ prefix }) => check.isSamePrefix(prefix, to));
  demand(to === undefined || isConnected, "not-permitted", "to", "a connected prefix of the link");
  return rule;
}

/**
 * A rule of a known kind, at the priority of that kind, with its selectors and no others. Without
 * a look at any link: a rule outlives its link, and protocol 77 is stated.
 */
export function checkDeleteRule({ rule }: DeleteRule, { allow }: { readonly allow: AllowList }) {
  demand(rule !== undefined, "malformed", "rule", "present");
  const { kind, device, from, to, table, metric } = rule;
  const [priority = 0, fields, implied] = SHAPES.get(kind) ?? [];
  demand(fields !== undefined, "malformed", "kind", "one of the kinds of the contract");
  const present = { device, from: from !== undefined, to, table, metric };
  for (const field of ["device", "from", "to", "table", "metric"] as const) {
    const isExpected = fields.includes(field);
    const must = isExpected ? "present" : "absent for this kind";
    demand(Boolean(present[field]) === isExpected, "malformed", field, must);
  }
  demand(device === "" || net.parseLinkName(device).ok, "malformed", "device", "a link's name");
  demand(metric <= 9999, "not-permitted", "metric", "1 to 9999");
  const prefix = to === undefined ? undefined : check.checkPrefix("to", to);
  demand(prefix?.length !== 0, "not-permitted", "to", "longer than /0");
  return {
    kind,
    priority: priority + metric,
    // Undefined: unreachable.
    table: table === 0 ? implied : check.checkTable(allow, table),
    device: device === "" ? undefined : device,
    from: from === undefined ? undefined : check.checkUnicast("from", from),
    to: prefix,
  };
}

/**
 * Creates the rule. EEXIST says that it is there already and ours: the kernel tells the same rule
 * of another program apart by its protocol (rule_exists in net/core/fib_rules.c).
 */
export function putRule(request: PutRule, context: check.OperationContext): void {
  const payload = encodeRule(checkPutRule(request, context));
  context.socket.change(rt.MessageType.NEWRULE, CREATE_EXCL, payload, "EEXIST");
}

/** Protocol 77 is stated, so that the kernel itself finds no rule of another program. */
export function deleteRule(request: DeleteRule, context: check.OperationContext): void {
  const payload = encodeRule(checkDeleteRule(request, context));
  context.socket.change(rt.MessageType.DELRULE, 0, payload, "ENOENT");
}

function encodeRule(rule: ReturnType<typeof checkDeleteRule>): StreamData[] {
  const { kind, priority, table, device, from, to } = rule;
  const action = table === undefined ? rt.RuleAction.unreachable : rt.RuleAction.toTbl;
  const isWithoutDefaults = kind === RuleKind.MAIN_WITHOUT_DEFAULTS;
  const srcLen = from === undefined ? 0 : 32;
  return [
    rt.formatRule({ family: AF_INET, srcLen, dstLen: to?.length ?? 0, action }),
    rt.formatRuleAttrs({
      ...(to !== undefined && { dst: putU32be(to.network) }),
      ...(from !== undefined && { src: putU32be(from) }),
      priority,
      ...(isWithoutDefaults && { suppressPrefixlen: u32(0) }),
      ...(table !== undefined && { table }),
      ...(device !== undefined && { oifname: device }),
      protocol: MNM_PROTOCOL,
    }),
  ];
}
