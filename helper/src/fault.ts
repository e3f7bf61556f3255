import { OperationFault_Code as Code, type OperationFault } from "@mnm/proto/helper";
import { assertNever, err, ok, type Result } from "@mnm/proto/net";

/** What can be wrong with a request as such. */
type RequestFaultCode = "malformed" | "not-permitted" | "link-mismatch";

/**
 * Why one operation was not carried out. The caller branches on `code`; people read
 * {@link describeFault}. `field` is a field of the request as the `.proto` spells it.
 */
export type HelperFault =
  | { readonly code: RequestFaultCode; readonly field: string; readonly must: string }
  | { readonly code: "foreign"; readonly protocol: number }
  | { readonly code: "kernel-refused"; readonly errno: string; readonly kernelText: string };

/**
 * A fault on its way to the border of its operation, where {@link attempt} makes it a value.
 * Inside of an operation it is thrown: its checks are a list of demands to be read in order,
 * which a branch after each would double in length, and any of them may ask the kernel.
 */
export class HelperError extends Error {
  override readonly name = "HelperError";
  readonly fault: HelperFault;

  constructor(fault: HelperFault) {
    super(describeFault(fault));
    this.fault = fault;
  }
}

/** Refuses the operation unless the condition holds. */
export function demand(
  condition: boolean,
  code: RequestFaultCode,
  field: string,
  must: string,
): asserts condition {
  if (!condition) throw new HelperError({ code, field, must });
}

/** Runs an operation; what it refuses is a value from here on. */
export function attempt<T>(operation: () => T): Result<T, HelperFault> {
  try {
    return ok(operation());
  } catch (cause) {
    if (cause instanceof HelperError) return err(cause.fault);
    throw cause;
  }
}

/** Says why, without the operation that was attempted. */
export function describeFault(fault: HelperFault): string {
  switch (fault.code) {
    case "malformed":
    case "not-permitted":
    case "link-mismatch":
      return `${fault.field} must be ${fault.must}`;
    case "foreign":
      return `it belongs to another program (protocol ${fault.protocol})`;
    case "kernel-refused":
      return `the kernel says ${fault.errno} ${fault.kernelText}`.trimEnd();
    default:
      return assertNever(fault);
  }
}

/** The fault as it travels; `operation` says what was attempted. */
export function encodeFault(fault: HelperFault, operation: string): OperationFault {
  const { errno, kernelText } =
    fault.code === "kernel-refused" ? fault : { errno: "", kernelText: "" };
  const field = "field" in fault ? fault.field : "";
  const text = `Refused ${operation}: ${describeFault(fault)}`;
  return { code: CODES[fault.code], field, errno, kernelText, text };
}

const CODES = {
  malformed: Code.MALFORMED,
  "not-permitted": Code.NOT_PERMITTED,
  "link-mismatch": Code.LINK_MISMATCH,
  foreign: Code.FOREIGN,
  "kernel-refused": Code.KERNEL_REFUSED,
} as const;
