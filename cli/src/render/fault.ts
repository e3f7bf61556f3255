import { type Fault, Fault_Code } from "@mnm/proto/network-manager";

/** What to do, where the controller has not said it. */
const HINTS: ReadonlyMap<Fault_Code, string> = new Map([
  [Fault_Code.NO_SUCH_LINK, "mnmctl status shows those that exist"],
  [Fault_Code.METRIC_TAKEN, "choose another, or exchange them with --swap"],
  [Fault_Code.NOT_MANAGED, "give it an entry in the configuration, then mnmctl reload"],
  [Fault_Code.NOT_PERMITTED, "run mnmctl as root or as a member of group mnm-admin"],
  [Fault_Code.HELPER_UNAVAILABLE, "is mnm-helper running?"],
  [Fault_Code.BAD_CONFIG, "correct it and reload again; the old configuration is in force"],
  [Fault_Code.SLOW_SUBSCRIBER, "read faster, or ask for fewer kinds of events"],
  [Fault_Code.INTERNAL, "the controller's log has more"],
  [Fault_Code.TOO_MUCH, "wait a moment, or ask as root or as a member of group mnm-admin"],
  [Fault_Code.TIMEOUT, "mnmctl status shows whether it came later"],
]);

/** A refusal as one sentence: what was attempted and why not, the kernel's words, what to do. */
export function faultSentence(fault: Fault): string {
  const kernel = [fault.errno, fault.kernelText].filter((text) => text !== "").join(": ");
  const hint = fault.hint === "" ? (HINTS.get(fault.code) ?? "") : fault.hint;
  return `${fault.text}${kernel === "" ? "" : ` (${kernel})`}${hint === "" ? "" : `; ${hint}`}`;
}
