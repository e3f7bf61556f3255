import { parseArgs } from "node:util";
import { err, ok, type Result } from "@mnm/proto/net";
import {
  COMMANDS,
  type CommandName,
  type CommandSpec,
  GLOBAL_OPTIONS,
  isCommandName,
  type OptionSpec,
  specOf,
} from "./command-table.js";
import type { UsageError } from "./usage.js";

/** A command line that fits the table. */
export interface Invocation {
  /** Undefined when there is none, as in `mnmctl --help`. */
  readonly command: CommandName | undefined;
  /** As many as the table allows. */
  readonly words: readonly string[];
  /** By name: the value, or "" for a switch. */
  readonly options: ReadonlyMap<string, string>;
}

type Token = {
  readonly name: string;
  readonly rawName: string;
  readonly value: string | undefined;
};

/** Parses a command line. Options may stand before or after the command. */
export function parseCommandLine(argv: readonly string[]): Result<Invocation, UsageError> {
  const { positionals, options } = tokensOf(argv);
  const [name, ...words] = positionals;
  if (name !== undefined && !isCommandName(name)) return err(unknownCommand(name));
  const spec = name === undefined ? undefined : specOf(name);
  const known = [...GLOBAL_OPTIONS, ...(spec?.options ?? [])];
  const values = new Map<string, string>();
  for (const token of options) {
    const problem = problemOf(token, known, spec);
    if (problem !== undefined) return err(problem);
    values.set(token.name, token.value ?? "");
  }
  // Then the command is not carried out.
  const isAbout = values.has("help") || values.has("version");
  const problem = spec === undefined || isAbout ? undefined : countProblem(words, spec);
  return problem === undefined ? ok({ command: name, words, options: values }) : err(problem);
}

/**
 * Splits without judging. parseArgs is not strict here, because its sentences are about its own
 * API, and because which options are right shows only when the command is known.
 */
function tokensOf(argv: readonly string[]): {
  readonly positionals: readonly string[];
  readonly options: readonly Token[];
} {
  const commands: readonly CommandSpec[] = COMMANDS;
  const specs = [...GLOBAL_OPTIONS, ...commands.flatMap((command) => command.options)];
  const { tokens } = parseArgs({
    args: [...argv],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(
      specs.map(({ name, short, value }) => [
        name,
        {
          type: value === undefined ? ("boolean" as const) : ("string" as const),
          ...(short === undefined ? {} : { short }),
        },
      ]),
    ),
  });
  const positionals = tokens.flatMap((token) => (token.kind === "positional" ? [token.value] : []));
  const options = tokens.flatMap((token) => (token.kind === "option" ? [token] : []));
  return { positionals, options };
}

function problemOf(
  { name, rawName, value }: Token,
  known: readonly OptionSpec[],
  spec: CommandSpec | undefined,
): UsageError | undefined {
  const option = known.find((candidate) => candidate.name === name);
  const hint = spec === undefined ? "see mnmctl help" : `see mnmctl help ${spec.name}`;
  if (option === undefined) {
    const where = spec === undefined ? "mnmctl" : `mnmctl ${spec.name}`;
    return { text: `${where} has no option ${rawName}`, hint };
  }
  if (option.value === undefined) {
    return value === undefined ? undefined : { text: `option --${name} takes no value`, hint };
  }
  // A dash begins the next option: the value was forgotten.
  if (value === undefined || value === "" || value.startsWith("-")) {
    return { text: `option --${name} needs a value`, hint: `write --${name} ${option.value}` };
  }
  const isColor = name !== "color" || ["auto", "always", "never"].includes(value);
  if (isColor) return undefined;
  return { text: `--color ${value} is not auto, always or never`, hint: "choose one of them" };
}

function countProblem(words: readonly string[], spec: CommandSpec): UsageError | undefined {
  const missing = spec.arguments.find(({ required }, index) => required && !words[index]);
  const hint = `see mnmctl help ${spec.name}`;
  if (missing !== undefined) return { text: `mnmctl ${spec.name} needs ${missing.name}`, hint };
  const extra = words[spec.arguments.length];
  if (extra === undefined || spec.arguments.at(-1)?.repeated === true) return undefined;
  return { text: `mnmctl ${spec.name} has no use for ${extra}`, hint };
}

function unknownCommand(name: string): UsageError {
  const start = name.slice(0, 2);
  const near = COMMANDS.filter((command) => command.name.startsWith(start)).map((c) => c.name);
  const hint = near.length > 0 ? `did you mean ${near.join(" or ")}?` : "see mnmctl help";
  return { text: `mnmctl has no command ${name}`, hint };
}
