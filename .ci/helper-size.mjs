// The helper must be readable in one sitting: 1,500 lines without its tests.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const LIMIT = 1500;
const lines = readdirSync("helper/src", { recursive: true })
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
  .map((name) => readFileSync(join("helper/src", name), "utf8").split("\n").length)
  .reduce((sum, count) => sum + count, 0);
console.log(`helper/src has ${lines} lines`);
if (lines > LIMIT) {
  console.error(`That is more than ${LIMIT}: what could the controller do instead?`);
  process.exitCode = 1;
}
