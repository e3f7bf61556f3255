import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { err, ok, type Result } from "@mnm/proto/net";

export type JsonFileFault =
  /** There is a file, and it cannot be read. */
  | { readonly code: "unreadable"; readonly text: string }
  /** It is no JSON, or larger than anything that we write. */
  | { readonly code: "damaged"; readonly text: string };

/** What a file of ours holds; undefined when there is none. */
export function readJsonFile(path: string, maxBytes: number): Result<unknown, JsonFileFault> {
  const bytes = readAtMost(path, maxBytes);
  if (!bytes.ok || bytes.value === undefined) return bytes;
  try {
    return ok(JSON.parse(bytes.value));
  } catch (error) {
    return err({ code: "damaged", text: messageOf(error) });
  }
}

function readAtMost(path: string, maxBytes: number): Result<string | undefined, JsonFileFault> {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const { size } = fstatSync(fd);
    if (size > maxBytes) return err({ code: "damaged", text: `${size} bytes` });
    return ok(readFileSync(fd, "utf8"));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return ok(undefined);
    return err({ code: "unreadable", text: messageOf(error) });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The errno name that Node's errors carry. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
