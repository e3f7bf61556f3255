import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";

/** What a finished command left behind. `code` is 128 + n after signal n, as in a shell. */
export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const running = new Set<ChildProcess>();

/** Kills the commands that {@link run} has not seen end: nothing shall be built during removal. */
export function killRunning(): void {
  for (const child of running) child.kill("SIGKILL");
}

const SIGNAL_CODES: Readonly<Record<string, number>> = { SIGINT: 130, SIGKILL: 137, SIGTERM: 143 };

/** Runs a command to its end. A non-zero exit is a value; a command that does not exist throws. */
export function run(
  command: string,
  args: readonly string[],
  options: { readonly input?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Output> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: options.env ?? process.env });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    running.add(child);
    child.on("error", (error) => {
      running.delete(child);
      reject(error);
    });
    child.on("close", (code, signal) => {
      running.delete(child);
      resolve({ code: code ?? SIGNAL_CODES[signal ?? ""] ?? 255, stdout, stderr });
    });
    // A command that ends without reading its input is not our failure: its exit code tells.
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.input ?? "");
  });
}

/** As {@link run}, for commands that must succeed: gives stdout, or throws with what they said. */
export async function must(
  command: string,
  args: readonly string[],
  options: { readonly input?: string } = {},
): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, options);
  if (code === 0) return stdout;
  throw new Error(`${[command, ...args].join(" ")}: exit ${code}: ${stderr.trim()}`);
}

export interface Deadline {
  readonly timeoutMs: number;
  /** What is waited for; completes the sentence "Waited in vain for …". */
  readonly what: string;
}

/** Polls until `probe` gives something other than `undefined` or `false`, and gives that. */
export async function until<T>(
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  { timeoutMs, what }: Deadline,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`Waited ${timeoutMs} ms in vain for ${what}`);
    await delay(3);
  }
}

/** Runs `task` for every item, at most `width` at a time: 128 servers at once would thrash. */
export async function forEachLimited<T>(
  items: readonly T[],
  width: number,
  task: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await task(item);
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
}
