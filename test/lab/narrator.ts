import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { until } from "./run.js";

const bold = (text: string) =>
  process.stdout.isTTY && process.env["NO_COLOR"] === undefined
    ? `\u001b[1m${text}\u001b[0m`
    : text;

let steps = 0;

export function heading(text: string): void {
  steps += 1;
  console.log(`\n${bold(`${steps}. ${text}`)}`);
}

export function say(text: string): void {
  console.log(`   ${text}`);
}

/** Shows a command as a person would type it. */
export function showCommand(text: string): void {
  console.log(`   ${bold(`$ ${text}`)}`);
}

/** Shows what a command printed, without its empty lines. */
export function showOutput(text: string): void {
  for (const line of text.split("\n").filter((line) => line.trim() !== "")) say(`  ${line}`);
}

/** Quotes where a shell would need it, so that a shown command can be copied. */
export function shellText(command: readonly string[]): string {
  const quoted = command.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`,
  );
  return quoted.join(" ");
}

/** A command whose lines appear as they come, between everything else. */
export class Scroll {
  readonly #child;
  readonly #lines: string[] = [];

  constructor(command: readonly [string, ...string[]], env: NodeJS.ProcessEnv) {
    const [file, ...args] = command;
    this.#child = spawn(file, args, { env, stdio: ["ignore", "pipe", "inherit"] });
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      this.#lines.push(line);
      console.log(`   | ${line}`);
    });
  }

  /** A place in the stream, for {@link waitFor}. */
  get length(): number {
    return this.#lines.length;
  }

  /** Waits for a line that came after `from`. */
  async waitFor(pattern: RegExp, from: number, timeoutMs = 30_000): Promise<void> {
    const came = () => this.#lines.slice(from).some((line) => pattern.test(line));
    await until(came, { timeoutMs, what: `a line like ${pattern}` });
  }

  stop(): void {
    this.#child.kill("SIGTERM");
  }
}
