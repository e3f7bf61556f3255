import { type Operation, renderOperation } from "../reconcile/index.js";
import type { Refusal } from "./messages.js";

/** The refusal for people: what was attempted, why not, and what to do. */
export function refusalSentence(operation: Operation, refusal: Refusal): string {
  const { code, errno, kernelText } = refusal;
  const attempt = renderOperation(operation);
  switch (code) {
    case "foreign":
      return `${attempt}: another program's object is in its place; MNM leaves it alone and tries again when it is gone`;
    case "kernel-refused":
      return `${attempt}: the kernel refused with ${errno}${kernelText === "" ? "" : ` (${kernelText})`}; MNM tries again`;
    case "not-permitted": {
      const hint = isOfAllowList(refusal) ? "; see helper.json" : "";
      return `${attempt}: the helper does not permit it (${ruleOf(refusal)})${hint}`;
    }
    case "link-mismatch":
      return `${attempt}: the link has changed meanwhile; MNM tries again`;
    case "malformed":
      return `${attempt}: the helper did not understand it (${ruleOf(refusal)})`;
  }
}

/** The rule that was broken. The helper's text names the whole request before it, as it came. */
function ruleOf({ field, text }: Refusal): string {
  const at = field === "" ? -1 : text.lastIndexOf(`${field} must be `);
  return at < 0 ? text : text.slice(at);
}

/** Whether helper.json sets the rule: its links, its tables, and the metrics of defaults in main. */
function isOfAllowList(refusal: Refusal): boolean {
  const { field } = refusal;
  return (
    field === "link" ||
    field === "table" ||
    (field === "metric" && ruleOf(refusal).endsWith(" in main"))
  );
}
