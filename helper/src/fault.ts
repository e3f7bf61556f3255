import { getSystemErrorName } from "node:util";
import { OperationFault_Code as Code, type OperationFault } from "@mnm/proto/helper";
import { err, ok, type Result } from "@mnm/proto/net";

const CODES = {
  malformed: Code.MALFORMED,
  "not-permitted": Code.NOT_PERMITTED,
  "link-mismatch": Code.LINK_MISMATCH,
  foreign: Code.FOREIGN,
  "kernel-refused": Code.KERNEL_REFUSED,
} as const;

/** Why one operation was not carried out, in the fields of the `.proto`. */
export interface HelperFault extends Omit<OperationFault, "code"> {
  readonly code: keyof typeof CODES;
}

/**
 * A fault on its way to the border of its operation, where {@link attempt} makes it a value.
 * Inside of an operation it is thrown: its checks are a list of demands to be read in order,
 * which a branch after each would double in length, and any of them may ask the kernel.
 */
export class HelperError extends Error {
  override readonly name = "HelperError";
  readonly fault: HelperFault;

  constructor(code: HelperFault["code"], text: string, details: Partial<HelperFault> = {}) {
    super(text);
    this.fault = { code, text, field: "", errno: "", kernelText: "", ...details };
  }
}

/** Refuses the operation unless the condition holds. */
export function demand(
  condition: boolean,
  code: "malformed" | "not-permitted" | "link-mismatch",
  field: string,
  must: string,
): asserts condition {
  if (!condition) throw new HelperError(code, `${field} must be ${must}`, { field });
}

/** Refuses to touch what does not carry our mark. */
export function foreign(protocol: number): HelperError {
  return new HelperError("foreign", `it belongs to another program (protocol ${protocol})`);
}

/** What the kernel refused, from its negative errno. */
export function kernelRefused(result: number, kernelText = ""): HelperError {
  const errno = getSystemErrorName(result);
  const text = `the kernel says ${errno} ${kernelText}`.trimEnd();
  return new HelperError("kernel-refused", text, { errno, kernelText });
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

/** The fault as it travels; `operation` says what was attempted. */
export function encodeFault(fault: HelperFault, operation: string): OperationFault {
  return { ...fault, code: CODES[fault.code], text: `Refused ${operation}: ${fault.text}` };
}
