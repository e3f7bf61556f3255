import { spawn } from "node:child_process";

/**
 * `-d`: starts this program again, detached, and waits until it says that it has started, so that
 * the caller learns of a failure as with any other program.
 */
export function detach(argv: readonly string[]): void {
  const [script = ""] = process.argv.slice(1);
  const child = spawn(process.execPath, [...process.execArgv, script, ...argv], {
    detached: true,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  child.once("message", () => {
    child.disconnect();
    child.unref();
  });
  child.once("exit", (code) => {
    process.exitCode = code ?? 1;
  });
}

/** In the background: the one who started us need not wait any longer. */
export function reportStarted(): void {
  if (process.send === undefined) return;
  process.send("started");
  process.once("disconnect", () => {});
}
