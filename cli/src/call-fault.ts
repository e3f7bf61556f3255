import { Metadata, type ServiceError, status as Status } from "@grpc/grpc-js";
import { assertNever } from "@mnm/proto/net";
import { Fault, Fault_Code } from "@mnm/proto/network-manager";
import { ExitCode } from "./exit-code.js";
import { faultSentence } from "./render/fault.js";

/** Why a call came to nothing. */
export type CallFault =
  | { readonly code: "no-socket"; readonly path: string }
  | { readonly code: "not-a-socket"; readonly path: string }
  /** The socket, or a directory above it, may not be used by this user. */
  | { readonly code: "socket-permission"; readonly path: string }
  /** A socket without a listener: its program has ended. */
  | { readonly code: "socket-refused"; readonly path: string }
  /** More wait to connect than the kernel keeps. */
  | { readonly code: "queue-full"; readonly path: string }
  | { readonly code: "connection-lost"; readonly path: string; readonly details: string }
  | { readonly code: "deadline"; readonly path: string; readonly seconds: number }
  /** The controller is older than we are. */
  | { readonly code: "unimplemented" }
  | { readonly code: "not-permitted"; readonly details: string }
  /** The controller said why. */
  | { readonly code: "refused"; readonly fault: Fault }
  | { readonly code: "other"; readonly status: string; readonly details: string };

/** What gRPC says about a failed call, as data. */
export function callFaultOf(
  error: ServiceError,
  call: { readonly path: string; readonly seconds: number },
): CallFault {
  const fault = mnmFaultOf(error);
  if (fault !== undefined) return { code: "refused", fault };
  const { path } = call;
  switch (error.code) {
    // A controller that stops cancels its calls; our own cancelling never comes back as a fault.
    case Status.CANCELLED:
    case Status.UNAVAILABLE:
      return connectFaultOf(error.details, path);
    case Status.DEADLINE_EXCEEDED:
      return { code: "deadline", ...call };
    case Status.UNIMPLEMENTED:
      return { code: "unimplemented" };
    case Status.PERMISSION_DENIED:
      return { code: "not-permitted", details: error.details };
    default:
      return { code: "other", status: Status[error.code] ?? "UNKNOWN", details: error.details };
  }
}

/** grpc-js tells the errno of a failed connect(2) in its text only. */
function connectFaultOf(details: string, path: string): CallFault {
  const [errno] = /\b(ECONNREFUSED|EACCES|ENOENT|EAGAIN)\b/.exec(details) ?? [];
  if (errno === "ECONNREFUSED") return { code: "socket-refused", path };
  if (errno === "EACCES") return { code: "socket-permission", path };
  if (errno === "ENOENT") return { code: "no-socket", path };
  if (errno === "EAGAIN") return { code: "queue-full", path };
  return { code: "connection-lost", path, details };
}

function mnmFaultOf(error: ServiceError): Fault | undefined {
  // A failure on our own side of the connection comes without metadata.
  const metadata: unknown = error.metadata;
  const [bytes] = metadata instanceof Metadata ? metadata.get("mnm-fault-bin") : [];
  if (!(bytes instanceof Uint8Array)) return undefined;
  try {
    return Fault.decode(bytes);
  } catch {
    // Not a fault of this API: the status and its text have to do.
    return undefined;
  }
}

/** One sentence: what went wrong; what to do. */
export function callFaultSentence(fault: CallFault): string {
  switch (fault.code) {
    case "no-socket":
      return `there is no controller at ${fault.path}; start mnm-controller, or name its socket with --socket`;
    case "not-a-socket":
      return `${fault.path} is not a socket; name the controller's with --socket`;
    case "socket-permission":
      return `no permission to use ${fault.path}; run mnmctl as root or as a member of group mnm-admin`;
    case "socket-refused":
      return `nobody listens at ${fault.path}; the controller has ended, start mnm-controller again`;
    case "queue-full":
      return `too many wait to connect to ${fault.path}; try again in a moment, and see in the controller's log who it is`;
    case "connection-lost":
      return `the connection to ${fault.path} was lost (${fault.details}); is mnm-controller running, and does its log say that your user asks too much?`;
    case "deadline":
      return `the controller at ${fault.path} did not answer within ${fault.seconds} s; its log may say why`;
    case "unimplemented":
      return "the controller does not know this request; it is older than mnmctl, restart it after the update";
    case "not-permitted":
      return `${fault.details}; run mnmctl as root or as a member of group mnm-admin`;
    case "refused":
      return faultSentence(fault.fault);
    case "other":
      return `${fault.details === "" ? "the call failed" : fault.details} (${fault.status}); the controller's log may say more`;
    default:
      return assertNever(fault);
  }
}

export function exitCodeOf(fault: CallFault): ExitCode {
  switch (fault.code) {
    case "no-socket":
    case "not-a-socket":
    case "socket-permission":
    case "socket-refused":
    case "queue-full":
    case "connection-lost":
    case "deadline":
      return ExitCode.unreachable;
    case "unimplemented":
    case "not-permitted":
    case "refused":
    case "other":
      return ExitCode.failed;
    default:
      return assertNever(fault);
  }
}

/** Whether a subscriber that has seen this can go on where it was. */
export function isPassing(fault: CallFault): boolean {
  const isSlow = fault.code === "refused" && fault.fault.code === Fault_Code.SLOW_SUBSCRIBER;
  return isSlow || exitCodeOf(fault) === ExitCode.unreachable;
}
