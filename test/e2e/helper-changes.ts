/** What a controller asks the helper to change, in short words for tests. */
import { type LinkRef, type Operation, RouteType, type Rule } from "@mnm/proto/helper";
import { ip4, prefix4 } from "./helper-rig.js";

export type Change = NonNullable<Operation["change"]>;
type Put<Case extends Change["$case"]> = Partial<Extract<Change, { $case: Case }>["value"]>;

export const TABLE = 7701;

export const putAddress = (link: LinkRef, text: string, more: Put<"putAddress"> = {}): Change => {
  const [address = "", length] = text.split("/");
  const value = { link, address: ip4(address), prefixLength: Number(length), validSec: 3600 };
  return { $case: "putAddress", value: { ...value, ...more } };
};
export const deleteAddress = (link: LinkRef, text: string): Change => {
  const [address = "", length] = text.split("/");
  const value = { link, address: ip4(address), prefixLength: Number(length) };
  return { $case: "deleteAddress", value };
};
const route = (link: LinkRef | undefined, to: string, more: Put<"putRoute"> = {}) => ({
  ...{ link, table: TABLE, type: RouteType.UNICAST, destination: prefix4(to), metric: 0 },
  ...{ onlink: false, ...more },
});
export const putRoute = (link: LinkRef, to: string, more: Put<"putRoute"> = {}): Change => ({
  $case: "putRoute",
  value: route(link, to, more),
});
export const deleteRoute = (
  link: LinkRef | undefined,
  to: string,
  more: Put<"putRoute"> = {},
): Change => ({ $case: "deleteRoute", value: route(link, to, more) });
export const rule = (kind: Rule["kind"], more: Partial<Rule> = {}): Rule => ({
  ...{ kind, device: "", to: undefined, table: 0, metric: 0, priority: 0, fwmark: 0 },
  ...more,
});
export const putRule = (link: LinkRef | undefined, one: Rule): Change => ({
  $case: "putRule",
  value: { link, rule: one },
});
export const deleteRule = (one: Rule): Change => ({ $case: "deleteRule", value: { rule: one } });
