import {
  COMMANDS,
  type CommandSpec,
  EXIT_STATUS,
  GLOBAL_OPTIONS,
  type OptionSpec,
  usageOf,
} from "../command-table.js";
import type { Line } from "./page.js";

/** What `mnmctl help` shows. */
export function overviewPage(): readonly Line[] {
  return [
    ["mnmctl - asks and steers MNM, which makes every uplink of this host usable at once"],
    [],
    ["usage: mnmctl [OPTIONS] COMMAND"],
    [],
    ...COMMANDS.flatMap((spec) => entry(usageOf(spec).slice("mnmctl ".length), spec.summary)),
    [],
    ["options, before or after the command:"],
    ...optionLines(GLOBAL_OPTIONS),
    [],
    [
      `exit status: ${EXIT_STATUS.slice(0, 5)
        .map(({ code, text }) => `${code} ${text}`)
        .join(", ")}`,
    ],
    ["mnmctl help COMMAND and mnmctl(1) say more"],
  ];
}

/** What `mnmctl help COMMAND` shows. */
export function commandPage(spec: CommandSpec): readonly Line[] {
  return [
    [`${spec.name} - ${spec.summary}`],
    [],
    [`usage: ${usageOf(spec)}`],
    ...spec.details.flatMap((paragraph) => [[], ...wrapped(paragraph, 78).map((text) => [text])]),
    [],
    ...optionLines([...spec.options, ...GLOBAL_OPTIONS]),
    [],
    ...spec.examples.map((example): Line => [`  $ ${example}`]),
  ];
}

function optionLines(options: readonly OptionSpec[]): readonly Line[] {
  return options.flatMap((option) => entry(optionName(option), option.text));
}

/** `-f, --follow`, `--since SEQ`. */
export function optionName({ name, short, value }: OptionSpec): string {
  const names = short === undefined ? `--${name}` : `-${short}, --${name}`;
  return value === undefined ? names : `${names} ${value}`;
}

/** A name in a column of its own, and its text beside it or, when it is long, below it. */
function entry(name: string, text: string): readonly Line[] {
  const indent = " ".repeat(22);
  const [first = "", ...others] = wrapped(text, 56);
  const rest = others.map((part): Line => [indent, part]);
  if (name.length > 18) return [[`  ${name}`], [indent, first], ...rest];
  return [[`  ${name.padEnd(20)}`, first], ...rest];
}

function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
