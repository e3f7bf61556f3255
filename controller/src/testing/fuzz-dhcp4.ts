// make fuzz: mutations by the million. Prints what came of them; a failure names the message.
import { parseArgs } from "node:util";
import { withoutCorpora } from "./dhcp4-corpora.js";
import { fuzz } from "./dhcp4-fuzz.js";

const { values } = parseArgs({
  options: { seed: { type: "string" }, count: { type: "string" } },
});
const seed = Number(values.seed || Math.floor(Math.random() * 2 ** 31));
const count = Number(values.count || 1_000_000);
const print = (text: string) => process.stdout.write(`${text}\n`);

if (withoutCorpora !== false) print(`Only from our own messages: ${withoutCorpora}`);
print(`seed            ${seed}`);
const report = fuzz({ seed, count });
const { growth, verdicts } = report;
print(`messages        ${report.messages.toLocaleString("en")}`);
print(`messages/s      ${report.messagesPerSec.toLocaleString("en")}, each read in every state`);
print(`steps           ${report.steps.toLocaleString("en")}`);
print(`slowest step    ${report.slowestMs.toFixed(2)} ms`);
print(
  `memory growth   ${growth === undefined ? "not measured" : `${Math.round(growth / 1024)} KiB`}`,
);
for (const [verdict, times] of [...verdicts].toSorted(([, a], [, b]) => b - a)) {
  print(`${times.toLocaleString("en").padStart(14)}  ${verdict}`);
}
