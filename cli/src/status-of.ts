import type { GetStatusResponse, Status } from "@mnm/proto/network-manager";

/** The status in an answer. proto3 has no required fields, so that an empty answer is possible. */
export function statusOf({ status }: GetStatusResponse): Status {
  return (
    status ?? {
      version: "",
      instance: "",
      uptimeMs: 0n,
      helper: undefined,
      config: undefined,
      defaultLink: "",
      links: [],
      warnings: [],
      lastSequence: 0n,
      settled: false,
      contended: [],
    }
  );
}
