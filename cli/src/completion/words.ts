import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS, type OptionSpec } from "../command-table.js";

/** The shells for which there is a script. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

export type Shell = (typeof SHELLS)[number];

export function isShell(text: string | undefined): text is Shell {
  return SHELLS.some((shell) => shell === text);
}

/** What may stand in a place of the command line. */
export type Expected =
  | { readonly kind: "links" }
  | { readonly kind: "files" }
  | { readonly kind: "words"; readonly words: readonly string[] }
  /** A number and the like, which nobody can complete. */
  | { readonly kind: "nothing" };

/** By what the table of commands calls an argument or the value of an option. */
export function expectedFor(placeholder: string): Expected {
  switch (placeholder) {
    case "LINK":
      return { kind: "links" };
    case "FILE":
    case "PATH":
      return { kind: "files" };
    case "COMMAND":
      return { kind: "words", words: COMMANDS.map(({ name }) => name) };
    case "SHELL":
      return { kind: "words", words: SHELLS };
    case "WHEN":
      return { kind: "words", words: ["auto", "always", "never"] };
    default:
      return { kind: "nothing" };
  }
}

/** Every option of mnmctl that takes a value, once by name. */
export function optionsWithValue(): readonly Required<Pick<OptionSpec, "name" | "value">>[] {
  const commands: readonly CommandSpec[] = COMMANDS;
  const all = [...GLOBAL_OPTIONS, ...commands.flatMap(({ options }) => options)];
  const values = all.flatMap(({ name, value }) => (value === undefined ? [] : [{ name, value }]));
  return [...new Map(values.map((option) => [option.name, option])).values()];
}

/** `--follow` and `-f`. */
export function spellings({ name, short }: OptionSpec): readonly string[] {
  return short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`];
}

/** Text as one word of sh, bash, zsh and, with other escapes inside, fish. */
export function quoted(text: string, shell: "sh" | "fish"): string {
  if (shell === "sh") return `'${text.replaceAll("'", "'\\''")}'`;
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
