import { type DeleteRule, type PutRule, type Rule, RuleKind } from "@mnm/proto/helper";
import * as net from "@mnm/proto/net";
import { formatRule } from "netlink/dist/rt/gen_structs.js";
import { putString, type StreamData } from "netlink/dist/structs.js";
import { type AllowList, MAIN_TABLE, MNM_PROTOCOL } from "../allow-list.js";
import { demand } from "../fault.js";
import * as netlink from "../route-socket.js";
import { u32 } from "../sys.js";
import * as check from "./check.js";

/** A rule of a known kind, at the priority of that kind, with its selectors and no others. */
interface KnownRule {
  readonly kind: Rule["kind"];
  readonly priority: number;
  /** Undefined: unreachable. */
  readonly table: number | undefined;
  readonly device: string | undefined;
  readonly from: net.Ipv4 | undefined;
  readonly to: net.Ipv4Prefix | undefined;
}

/** A rule that passed {@link checkPutRule}. */
export type CheckedRule = net.Branded<KnownRule, "CheckedRule">;

/** A rule that passed {@link checkDeleteRule}. */
export type CheckedDeleteRule = net.Branded<KnownRule, "CheckedDeleteRule">;

type Field = "device" | "from" | "to" | "table" | "metric";

// A map, since the caller may send any number where the generated type promises one of these.
const SHAPES: ReadonlyMap<number, { priority: number; fields: readonly Field[] }> = new Map([
  [RuleKind.DEVICE, { priority: 9000, fields: ["device", "table"] }],
  [RuleKind.SOURCE_TO_CONNECTED, { priority: 9400, fields: ["from", "to", "table"] }],
  [RuleKind.MAIN_WITHOUT_DEFAULTS, { priority: 9500, fields: [] }],
  [RuleKind.SOURCE, { priority: 10_000, fields: ["from", "table"] }],
  [RuleKind.SOURCE_UNREACHABLE, { priority: 10_500, fields: ["from"] }],
  [RuleKind.CONNECTED, { priority: 20_000, fields: ["to", "table", "metric"] }],
]);

export function checkPutRule(request: PutRule, context: check.CheckContext): CheckedRule {
  const rule = checkShape(request.rule, context.allow);
  if (rule.kind === RuleKind.MAIN_WITHOUT_DEFAULTS) {
    demand(request.link === undefined, "malformed", "link", "absent: this rule is for no link");
    return rule as CheckedRule;
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
    .some(({ prefix }) => prefix.network === to?.network && prefix.length === to.length);
  demand(to === undefined || isConnected, "not-permitted", "to", "a connected prefix of the link");
  return rule as CheckedRule;
}

/** Without a look at any link: a rule outlives its link, and protocol 77 is stated. */
export function checkDeleteRule(
  request: DeleteRule,
  { allow }: Pick<check.CheckContext, "allow">,
): CheckedDeleteRule {
  return checkShape(request.rule, allow) as CheckedDeleteRule;
}

function checkShape(rule: Rule | undefined, allow: AllowList): KnownRule {
  demand(rule !== undefined, "malformed", "rule", "present");
  const { kind, device, from, to, table, metric } = rule;
  const shape = SHAPES.get(kind);
  demand(shape !== undefined, "malformed", "kind", "one of the kinds of the contract");
  const present = { device, from: from !== undefined, to, table, metric };
  for (const field of ["device", "from", "to", "table", "metric"] as const) {
    const isExpected = shape.fields.includes(field);
    const must = isExpected ? "present" : "absent for this kind";
    demand(Boolean(present[field]) === isExpected, "malformed", field, must);
  }
  demand(device === "" || net.parseLinkName(device).ok, "malformed", "device", "a link's name");
  demand(metric <= 9999, "not-permitted", "metric", "1 to 9999");
  const prefix = to === undefined ? undefined : check.checkPrefix("to", to);
  demand(prefix?.length !== 0, "not-permitted", "to", "longer than /0");
  return {
    kind,
    priority: shape.priority + metric,
    table: tableOf(rule, allow),
    device: device === "" ? undefined : device,
    from: from === undefined ? undefined : check.checkUnicast("from", from),
    to: prefix,
  };
}

function tableOf({ kind, table }: Rule, allow: AllowList): number | undefined {
  if (kind === RuleKind.MAIN_WITHOUT_DEFAULTS) return MAIN_TABLE;
  return kind === RuleKind.SOURCE_UNREACHABLE ? undefined : check.checkTable(allow, table);
}

/**
 * Creates the rule. EEXIST says that it is there already and ours: the kernel tells the same rule
 * of another program apart by its protocol (rule_exists in net/core/fib_rules.c).
 */
export function putRule(socket: netlink.RouteSocket, rule: CheckedRule): void {
  socket.change(RTM_NEWRULE, netlink.NLM_F_CREATE_EXCL, encodeRule(rule), "EEXIST");
}

/** Protocol 77 is stated, so that the kernel itself finds no rule of another program. */
export function deleteRule(socket: netlink.RouteSocket, rule: CheckedDeleteRule): void {
  socket.change(RTM_DELRULE, 0, encodeRule(rule), "ENOENT");
}

function encodeRule({ kind, priority, table, device, from, to }: KnownRule): StreamData[] {
  const action = table === undefined ? FR_ACT_UNREACHABLE : FR_ACT_TO_TBL;
  const suppress = kind === RuleKind.MAIN_WITHOUT_DEFAULTS ? u32(0) : undefined;
  const srcLen = from === undefined ? 0 : 32;
  return [
    formatRule({ family: AF_INET, srcLen, dstLen: to?.length ?? 0, action }),
    netlink.attributes([
      [FRA.DST, to === undefined ? undefined : net.ipv4ToBytes(to.network)],
      [FRA.SRC, from === undefined ? undefined : net.ipv4ToBytes(from)],
      [FRA.PRIORITY, u32(priority)],
      [FRA.SUPPRESS_PREFIXLEN, suppress],
      [FRA.TABLE, table === undefined ? undefined : u32(table)],
      [FRA.OIFNAME, device === undefined ? undefined : putString(device)],
      [FRA.PROTOCOL, Uint8Array.of(MNM_PROTOCOL)],
    ]),
  ];
}

const AF_INET = 2;
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const FRA = {
  DST: 1,
  SRC: 2,
  PRIORITY: 6,
  SUPPRESS_PREFIXLEN: 14,
  TABLE: 15,
  OIFNAME: 17,
  PROTOCOL: 21,
} as const;
const FR_ACT_TO_TBL = 1;
const FR_ACT_UNREACHABLE = 7;
