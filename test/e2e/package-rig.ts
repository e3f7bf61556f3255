import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { REPOSITORY } from "../lab/identity.js";
import { must, type Output, run } from "../lab/run.js";

/** Programs as people get them, and how they are asked for their version. */
export const PROGRAMS = ["mnm-helper", "mnm-controller", "mnmctl"] as const;

/** A folder for one test file, gone with it. */
export function scratchFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "mnm-package-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Builds a package and gives its path. */
export async function build(
  kind: "deb" | "tarball",
  ...options: readonly string[]
): Promise<string> {
  const script = join(REPOSITORY, `scripts/package/${kind}.mjs`);
  return (await must(process.execPath, [script, ...options])).trim();
}

/** Runs an installed program by node, with an environment in which nothing helps it. */
export async function runInstalled(lib: string, name: string, ...args: readonly string[]) {
  const command = [process.execPath, join(lib, `${name}.js`), ...args];
  return await run("env", ["-i", "-C", "/", ...command]);
}

/** What `--version` says, for all three; mnmctl also tells that there is no controller. */
export async function versions(lib: string): Promise<readonly string[]> {
  const said: string[] = [];
  for (const name of PROGRAMS) {
    const { stdout }: Output = await runInstalled(lib, name, "--version");
    said.push(stdout.split("\n")[0]?.replace(/\s+/, " ") ?? "");
  }
  return said;
}

export const VERSION: string = JSON.parse(
  readFileSync(join(REPOSITORY, "package.json"), "utf8"),
).version;
