import type {
  ArpMessage as ArpMessageMessage,
  LinkRef as LinkRefMessage,
  Operation as OperationMessage,
  OperationResult,
  PutLinkSettings,
  Rule,
} from "@mnm/proto/helper";
import {
  OperationFault_Code,
  OperationResult_Outcome,
  RouteType,
  RuleKind,
} from "@mnm/proto/helper";
import { type Instant, type MacAddress, macToBytes } from "@mnm/proto/net";
import type { ArpMessage } from "../arp/index.js";
import type { GroupedOperation, OperationOutcome, Refusal } from "../engine/index.js";
import type { LinkRef } from "../link/index.js";
import type { WantedRoute, WantedRule } from "../plan/index.js";
import type { Operation } from "../reconcile/index.js";

const ROUTE_TYPES = {
  unicast: RouteType.UNICAST,
  unreachable: RouteType.UNREACHABLE,
  blackhole: RouteType.BLACKHOLE,
  throw: RouteType.THROW,
} as const;

/** IFA_CACHEINFO's word for ever. */
const FOREVER_SEC = 0xffff_ffff;

export function encodeLinkRef(link: LinkRef): LinkRefMessage {
  return { ifindex: link.ifindex, name: link.name, mac: encodeMac(link.mac) };
}

export function encodeArpMessage(ref: LinkRef, message: ArpMessage): ArpMessageMessage {
  return { link: encodeLinkRef(ref), kind: arpKindOf(message) };
}

function arpKindOf(message: ArpMessage): ArpMessageMessage["kind"] {
  switch (message.kind) {
    case "probe":
      return { $case: "probe", value: { target: message.target } };
    case "announcement":
      return { $case: "announcement", value: { address: message.address } };
    case "request": {
      const { sender, gateway, gatewayMac } = message;
      return { $case: "request", value: { sender, gateway, gatewayMac: encodeMac(gatewayMac) } };
    }
  }
}

function encodeMac(mac: MacAddress | undefined): Buffer {
  return Buffer.from(mac === undefined ? [] : macToBytes(mac));
}

export function encodeOperation(
  { group, operation }: GroupedOperation,
  now: Instant,
): OperationMessage {
  return { group, change: changeOf(operation, now) };
}

function changeOf(operation: Operation, now: Instant): OperationMessage["change"] {
  switch (operation.kind) {
    case "put-settings":
      return { $case: "putLinkSettings", value: encodeSettings(operation) };
    case "put-address": {
      const { address, length, broadcast, expiry } = operation.address;
      const link = encodeLinkRef(operation.link);
      const validSec = validSecOf(expiry, now);
      const value = { link, address, prefixLength: length, broadcast, validSec, peer: undefined };
      return { $case: "putAddress", value };
    }
    case "delete-address": {
      const { link, address, length } = operation;
      const value = { link: encodeLinkRef(link), address, prefixLength: length };
      return { $case: "deleteAddress", value };
    }
    case "put-route":
      return { $case: "putRoute", value: encodeRoute(operation.link, operation.route) };
    case "delete-route": {
      const { table, destination, metric } = operation.route;
      const link = operation.link === undefined ? undefined : encodeLinkRef(operation.link);
      const type = ROUTE_TYPES[operation.type];
      const value = { link, table, type, destination, metric, gateway: undefined };
      return { $case: "deleteRoute", value };
    }
    case "put-rule": {
      const link = operation.link === undefined ? undefined : encodeLinkRef(operation.link);
      return { $case: "putRule", value: { link, rule: encodeRule(operation.rule) } };
    }
    case "delete-rule":
      return { $case: "deleteRule", value: { rule: encodeRule(operation.rule) } };
  }
}

function encodeSettings({
  link,
  up,
  settings,
}: Operation & { kind: "put-settings" }): PutLinkSettings {
  return {
    link: encodeLinkRef(link),
    up,
    rpFilter: settings.rpFilter,
    arpIgnore: settings.arpIgnore,
    arpAnnounce: settings.arpAnnounce,
    ignoreRoutesWithLinkdown: settings.ignoreRoutesWithLinkdown,
    promoteSecondaries: settings.promoteSecondaries,
  };
}

/** The kernel counts down in seconds; rounding up, it never ends before the lease does. */
function validSecOf(expiry: Instant | undefined, now: Instant): number {
  if (expiry === undefined) return FOREVER_SEC;
  return Math.min(Math.max(Math.ceil((expiry - now) / 1000), 1), FOREVER_SEC - 1);
}

function encodeRoute(link: LinkRef, route: WantedRoute) {
  const { table, destination, metric, gateway, preferredSource, mtu } = route;
  return {
    link: encodeLinkRef(link),
    table,
    type: RouteType.UNICAST,
    destination,
    metric,
    gateway,
    preferredSource,
    onlink: false,
    mtu,
  };
}

function encodeRule(rule: WantedRule): Rule {
  const none = { from: undefined, to: undefined, uid: undefined };
  const blank = { device: "", table: 0, metric: 0, priority: 0, fwmark: 0, ...none };
  switch (rule.kind) {
    case "device":
      return { ...blank, kind: RuleKind.DEVICE, device: rule.device, table: rule.table };
    case "main-without-defaults":
      return { ...blank, kind: RuleKind.MAIN_WITHOUT_DEFAULTS };
    case "source":
      return { ...blank, kind: RuleKind.SOURCE, from: rule.from, table: rule.table };
    case "source-unreachable":
      return { ...blank, kind: RuleKind.SOURCE_UNREACHABLE, from: rule.from };
    case "connected": {
      const { to, metric, table } = rule;
      return { ...blank, kind: RuleKind.CONNECTED, to, metric, table };
    }
  }
}

export function decodeResult(result: OperationResult): OperationOutcome {
  switch (result.outcome) {
    case OperationResult_Outcome.DONE:
      return { kind: "done" };
    case OperationResult_Outcome.REFUSED:
      return { kind: "refused", refusal: refusalOf(result) };
    default:
      return { kind: "skipped" };
  }
}

const REFUSAL_CODES: Readonly<Record<OperationFault_Code, Refusal["code"]>> = {
  [OperationFault_Code.UNSPECIFIED]: "malformed",
  [OperationFault_Code.MALFORMED]: "malformed",
  [OperationFault_Code.NOT_PERMITTED]: "not-permitted",
  [OperationFault_Code.LINK_MISMATCH]: "link-mismatch",
  [OperationFault_Code.FOREIGN]: "foreign",
  [OperationFault_Code.KERNEL_REFUSED]: "kernel-refused",
};

function refusalOf({ fault }: OperationResult): Refusal {
  const { code = OperationFault_Code.UNSPECIFIED, field = "", errno = "" } = fault ?? {};
  const { kernelText = "", text = "the helper refused without saying why" } = fault ?? {};
  return { code: REFUSAL_CODES[code], field, errno, kernelText, text };
}
