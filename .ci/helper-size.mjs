// The helper must stay readable in one sitting. Counted is code: no tests, comments, blank lines or
// imports (docs/adr/0009-helper-size.md says why, and what the design wanted).
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const LIMIT = 2004;

function codeLines(text) {
  const code = text
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/^import [\s\S]*?;$/gm, "")
    .replace(/^\s*\/\/.*$/gm, "");
  return code.split("\n").filter((line) => line.trim() !== "").length;
}

const lines = readdirSync("helper/src", { recursive: true })
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
  .map((name) => codeLines(readFileSync(join("helper/src", name), "utf8")))
  .reduce((sum, count) => sum + count, 0);
console.log(`helper/src has ${lines} lines of code`);
if (lines > LIMIT) {
  console.error(`That is more than ${LIMIT}: what could the controller do instead?`);
  process.exitCode = 1;
}
