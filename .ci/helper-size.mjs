// The helper must stay readable in one sitting. Counted is code: no tests, comments, blank lines or
// imports (docs/adr/0009-helper-size.md says why, and what the design wanted).
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

// What a peer's bytes can reach, and what is over before one can connect.
const LIMITS = { serving: 1500, start: 254 };
const lines = { serving: 0, start: 0 };
const names = readdirSync("helper/src", { recursive: true }).filter(
  (name) => name.endsWith(".ts") && !name.endsWith(".test.ts"),
);
for (const name of names) {
  const text = readFileSync(join("helper/src", name), "utf8");
  const part = name.startsWith("start/") ? "start" : "serving";
  lines[part] += codeLines(text);
  if (part === "serving" && /from "[./]+\/start\//.test(text)) {
    console.error(`${name} imports from start/, which would then serve as well`);
    process.exitCode = 1;
  }
}
for (const [part, limit] of Object.entries(LIMITS)) {
  console.log(`helper/src, ${part}: ${lines[part]} lines of code`);
  if (lines[part] <= limit) continue;
  console.error(`That is more than ${limit}: what could the controller do instead?`);
  process.exitCode = 1;
}

function codeLines(text) {
  const code = text
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/^import [\s\S]*?;$/gm, "")
    .replace(/^\s*\/\/.*$/gm, "");
  return code.split("\n").filter((line) => line.trim() !== "").length;
}
