import { type DeleteRule, type PutRule, RuleKind } from "@mnm/proto/helper";
import * as net from "@mnm/proto/net";
import * as rt from "netlink/dist/rt/gen_structs.js";
import { putU32be, type StreamData } from "netlink/dist/structs.js";
import { type AllowList, MAIN_TABLE, MNM_PROTOCOL } from "../allow-list.js";
import { demand } from "../fault.js";
import { CREATE_EXCL } from "../route-socket.js";
import { AF_INET, u32 } from "../sys.js";
import * as check from "./check.js";

const FIELDS = ["device", "from", "to", "table", "metric", "priority", "uid", "fwmark"] as const;
type Field = (typeof FIELDS)[number];

/**
 * Where a kind stands, what it says, and the table of one that does not say it. What it says of
 * metric or priority is added to where it stands.
 */
type Shape = readonly [priority: number, fields: readonly Field[], table?: number];

// A map, since the caller may send any number where the generated type promises one of these.
const SHAPES: ReadonlyMap<number, Shape> = new Map([
  [RuleKind.DEVICE, [9000, ["device", "table"]]],
  [RuleKind.SOURCE_TO_CONNECTED, [9400, ["from", "to", "table"]]],
  [RuleKind.MAIN_WITHOUT_DEFAULTS, [9500, [], MAIN_TABLE]],
  [RuleKind.SOURCE, [10_000, ["from", "table"]]],
  [RuleKind.SOURCE_UNREACHABLE, [10_500, ["from"]]],
  [RuleKind.CONNECTED, [20_000, ["to", "table", "metric"]]],
  [RuleKind.UID, [0, ["uid", "table", "priority"]]],
  [RuleKind.FWMARK, [0, ["fwmark", "table", "priority"]]],
  [RuleKind.IIF, [0, ["device", "table", "priority"]]],
]);

/** Where rules of this contract stand. */
export function isRulePriority(priority: number): boolean {
  const isFixed = [9000, 9400, 9500, 10_000, 10_500].includes(priority);
  return isFixed || isSelectorPriority(priority) || (priority > 20_000 && priority <= 29_999);
}

function isSelectorPriority(priority: number): boolean {
  return priority >= 9600 && priority <= 9899;
}

export function checkPutRule(request: PutRule, context: check.CheckContext) {
  const rule = checkDeleteRule(request, context);
  if (rule.kind === RuleKind.MAIN_WITHOUT_DEFAULTS) {
    demand(request.link === undefined, "malformed", "link", "absent: this rule is for no link");
    return rule;
  }
  const link = check.checkLink(request.link, context);
  checkSelector(rule, context.allow);
  const { kind, device, from, to, table } = rule;
  const isOwn = kind !== RuleKind.DEVICE || device === link.name;
  demand(isOwn, "not-permitted", "device", `the name of the link, ${link.name}`);
  // `unreachable` comes before the address, so that nothing leaks in between. It must not cut
  // off an address of a link that is not ours.
  if (from !== undefined && table === undefined) check.checkNotTaken("from", from, context);
  else if (from !== undefined) check.checkOwn("from", from, link, context);
  const isConnected = context.facts
    .addressesOf(link.ifindex)
    .some(({ prefix }) => check.isSamePrefix(prefix, to));
  demand(to === undefined || isConnected, "not-permitted", "to", "a connected prefix of the link");
  return rule;
}

/** What has nothing to do with the link is for helper.json to allow. */
function checkSelector(rule: CheckedRule, { selectors }: AllowList): void {
  const { kind, device = "", uid, fwmark } = rule;
  const isListed = (condition: boolean, field: string, key: string) =>
    demand(condition, "not-permitted", field, `one of selectors.${key} of helper.json`);
  isListed(uid === undefined || selectors.uids.includes(uid), "uid", "uids");
  isListed(fwmark === undefined || selectors.fwmarks.includes(fwmark), "fwmark", "fwmarks");
  isListed(kind !== RuleKind.IIF || selectors.iifs.includes(device), "device", "iifs");
}

/**
 * A rule of a known kind, at the priority of that kind, with its selectors and no others. Without
 * a look at any link: a rule outlives its link, and protocol 77 is stated.
 */
export function checkDeleteRule({ rule }: DeleteRule, { allow }: { readonly allow: AllowList }) {
  demand(rule !== undefined, "malformed", "rule", "present");
  const { kind, device, from, to, table, metric, priority, uid, fwmark } = rule;
  const [base = 0, fields, implied] = SHAPES.get(kind) ?? [];
  demand(fields !== undefined, "malformed", "kind", "one of the kinds of the contract");
  const given = { from: from !== undefined, uid: uid !== undefined };
  const present = { device, to, table, metric, priority, fwmark, ...given };
  for (const field of FIELDS) {
    const isExpected = fields.includes(field);
    const must = isExpected ? "present" : "absent for this kind";
    demand(Boolean(present[field]) === isExpected, "malformed", field, must);
  }
  demand(device === "" || net.parseLinkName(device).ok, "malformed", "device", "a link's name");
  demand(metric <= 9999, "not-permitted", "metric", "1 to 9999");
  const isPriority = priority === 0 || isSelectorPriority(priority);
  demand(isPriority, "not-permitted", "priority", "9600 to 9899");
  const prefix = to === undefined ? undefined : check.checkPrefix("to", to);
  demand(prefix?.length !== 0, "not-permitted", "to", "longer than /0");
  return {
    kind,
    priority: base + metric + priority,
    // Undefined: unreachable.
    table: table === 0 ? implied : check.checkTable(allow, table),
    device: device === "" ? undefined : device,
    from: from === undefined ? undefined : check.checkUnicast("from", from),
    to: prefix,
    uid,
    fwmark: fwmark === 0 ? undefined : fwmark,
  };
}

type CheckedRule = ReturnType<typeof checkDeleteRule>;

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

function encodeRule(rule: CheckedRule): StreamData[] {
  const { kind, priority, table, device, from, to, uid, fwmark } = rule;
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
      ...(device !== undefined && { [kind === RuleKind.IIF ? "iifname" : "oifname"]: device }),
      // One user, and the whole mark: a range or a mask could be everything.
      ...(uid !== undefined && { uidRange: { start: uid, end: uid } }),
      ...(fwmark !== undefined && { fwmark, fwmask: 0xffff_ffff }),
      protocol: MNM_PROTOCOL,
    }),
  ];
}
