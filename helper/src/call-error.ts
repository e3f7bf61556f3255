import type { status } from "@grpc/grpc-js";

/** Refuses a call as a whole; what befalls one item of it is data in the answer. */
export class CallError extends Error {
  override readonly name = "CallError";
  readonly code: status;

  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}
