import { Metadata, status } from "@grpc/grpc-js";
import { assertNever } from "@mnm/proto/net";
import {
  type ConfigProblem as ConfigProblemMessage,
  Fault,
  Fault_Code,
} from "@mnm/proto/network-manager";
import type { ConfigProblem } from "../config/index.js";
import type { Refusal, RequestFault } from "../engine/index.js";
import type { Excess } from "./admission.js";

/** A call that was refused: what gRPC wants to know of it. */
export interface CallRefusal {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

const BLANK: Fault = {
  code: Fault_Code.UNSPECIFIED,
  text: "",
  hint: "",
  field: "",
  holder: "",
  errno: "",
  kernelText: "",
  problems: [],
  oldestSequence: 0n,
};

/** The refusal with its fault in the trailing metadata, where `mnmctl` and others find it. */
export function refuseWith(
  code: status,
  fault: Partial<Fault> & Pick<Fault, "code" | "text">,
): CallRefusal {
  const metadata = new Metadata();
  const complete = { ...BLANK, ...fault };
  metadata.set("mnm-fault-bin", Buffer.from(Fault.encode(complete).finish()));
  const details = complete.hint === "" ? complete.text : `${complete.text}; ${complete.hint}`;
  return { code, details, metadata };
}

/** Too much of one user, or of all of its kind. */
export function excessRefusal({ of, by, uid, role, limit }: Excess): CallRefusal {
  const [text, allowed, hint] = EXCESSES[of];
  const who = by === "user" ? `user ${uid}` : KINDS[role];
  const otherwise = role === "reader" ? ", or ask as root or as a member of group mnm-admin" : "";
  return refuseWith(status.RESOURCE_EXHAUSTED, {
    code: Fault_Code.TOO_MUCH,
    text: `too many ${text} of ${who}: ${limit} ${allowed}`,
    hint: `${hint}${otherwise}`,
  });
}

const KINDS: Readonly<Record<Excess["role"], string>> = {
  owner: "root or the controller's own user",
  admin: "members of group mnm-admin",
  reader: "users who may only read",
};

const EXCESSES: Readonly<Record<Excess["of"], readonly [string, string, string]>> = {
  connections: [
    "connections",
    "may be open",
    "end some programs that keep one, such as mnmctl events --follow",
  ],
  connects: [
    "new connections",
    "a second are allowed",
    "wait a moment, and keep one connection for many calls",
  ],
  "open-calls": ["calls and subscriptions", "may be open", "end some"],
  calls: [
    "calls",
    "a second are allowed",
    "wait a moment, and subscribe instead of asking again and again",
  ],
};

export function refusalOf(fault: RequestFault): CallRefusal {
  switch (fault.code) {
    case "no-such-link":
      return refuseWith(status.NOT_FOUND, {
        code: Fault_Code.NO_SUCH_LINK,
        field: "link",
        text: `no link is named ${fault.link}`,
        hint: othersThan(fault.links),
      });
    case "invalid-metric":
      return refuseWith(status.INVALID_ARGUMENT, {
        code: Fault_Code.INVALID_VALUE,
        field: "metric",
        text: `metric ${fault.metric} is out of range`,
        hint: "choose 1 to 9999",
      });
    case "metric-taken":
      return refuseWith(status.ALREADY_EXISTS, {
        code: Fault_Code.METRIC_TAKEN,
        field: "metric",
        holder: fault.holder,
        text: `metric ${fault.metric} belongs to ${fault.holder}`,
        hint: "choose another, or exchange them with --swap",
      });
    case "metric-foreign":
      return refuseWith(status.FAILED_PRECONDITION, {
        code: Fault_Code.METRIC_TAKEN,
        field: "metric",
        holder: fault.holder,
        text: `metric ${fault.metric} belongs to ${fault.holder}`,
        hint: "choose another; MNM leaves other programs' routes alone",
      });
    case "loopback":
    case "not-managed":
    case "no-dhcp":
    case "no-carrier":
      return refuseWith(status.FAILED_PRECONDITION, { field: "link", ...unfitLink(fault) });
    case "helper-unavailable":
      return refuseWith(status.UNAVAILABLE, {
        code: Fault_Code.HELPER_UNAVAILABLE,
        text: `the helper is not reachable (${fault.text})`,
        hint: "start mnm-helper; nothing was changed",
      });
    case "kernel-refused":
      return refuseWith(status.FAILED_PRECONDITION, faultOfRefusal(fault.refusal));
    case "timeout":
      return refuseWith(status.DEADLINE_EXCEEDED, {
        code: Fault_Code.TIMEOUT,
        text: fault.text,
        hint: "MNM goes on trying; see mnmctl status",
      });
    default:
      return assertNever(fault);
  }
}

function othersThan(links: readonly string[]): string {
  return links.length > 0 ? `there are ${links.join(", ")}` : "there is no other link";
}

/** A link that is there, but not one that this can be done with. */
function unfitLink(
  fault: Extract<RequestFault, { code: "loopback" | "not-managed" | "no-dhcp" | "no-carrier" }>,
) {
  const { link } = fault;
  switch (fault.code) {
    case "loopback":
      return {
        code: Fault_Code.NOT_MANAGED,
        text: `${link} is the loopback link, which MNM never manages`,
        hint: othersThan(fault.links),
      };
    case "not-managed":
      return {
        code: Fault_Code.NOT_MANAGED,
        text: `${link} is not managed by MNM`,
        hint: "name it under links in the configuration, then reload",
      };
    case "no-dhcp":
      return {
        code: Fault_Code.NOT_MANAGED,
        text: `${link} does not get its address by DHCP`,
        hint: "it has no lease to renew or to give back",
      };
    case "no-carrier":
      return {
        code: Fault_Code.INVALID_VALUE,
        text: `${link} has no carrier`,
        hint: fault.isReleased
          ? "it stays released; try again when carrier is back"
          : "its lease is checked as soon as carrier is back",
      };
  }
}

/** A refusal of the helper or the kernel, in its own words. */
export function faultOfRefusal({ text, errno, kernelText, field }: Refusal): Fault {
  return { ...BLANK, code: Fault_Code.KERNEL_REFUSED, text, errno, kernelText, field };
}

export function encodeProblem({
  file,
  line,
  column,
  value,
  text,
}: ConfigProblem): ConfigProblemMessage {
  return { file, line, column, value, text };
}
