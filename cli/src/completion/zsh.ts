import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS, type OptionSpec } from "../command-table.js";
import { expectedFor, quoted } from "./words.js";

/** The script for zsh: a file `_mnmctl` in a folder of $fpath, or `source <(…)` after compinit. */
export function zshScript(): string {
  const commands: readonly CommandSpec[] = COMMANDS;
  return `#compdef mnmctl
# zsh completion for mnmctl. Made by: mnmctl completion zsh
_mnmctl_links() {
  local -a links
  links=(\${(f)"$(_call_program links \${(q)_mnmctl_program} completion links 2>/dev/null)"})
  _wanted links expl link compadd -a links
}
_mnmctl_commands() {
  local -a commands
  commands=(
${commands.map(({ name, summary }) => `    ${word(`${name}:${summary}`)}`).join("\n")}
  )
  _describe -t commands command commands
}
_mnmctl() {
  local curcontext=$curcontext state line expl _mnmctl_program=$words[1]
  local -A opt_args
  local -a global
  global=(
${GLOBAL_OPTIONS.flatMap(optionSpecs).join("\n")}
  )
  _arguments -C $global '1:command:_mnmctl_commands' '*::argument:->argument' && return
  [[ $state == argument ]] || return 1
  curcontext="\${curcontext%:*:*}:mnmctl-$line[1]:"
  case $line[1] in
${commands.map(commandCase).join("\n")}
  esac
}
# Called by the completion system that has autoloaded it; sourced, it has to make itself known.
if [[ $funcstack[1] == _mnmctl ]]; then _mnmctl "$@"; else compdef _mnmctl mnmctl; fi
`;
}

function commandCase(spec: CommandSpec): string {
  const positions = spec.arguments.map(
    ({ name, required, repeated = false }, index) =>
      `      ${word(`${repeated ? "*" : index + 1}:${required ? "" : ":"}${name}:${action(name)}`)}`,
  );
  const lines = ["_arguments $global", ...spec.options.flatMap(optionSpecs), ...positions];
  return `    ${spec.name})\n      ${lines.map((line) => line.trim()).join(" \\\n        ")} ;;`;
}

function optionSpecs({ name, short, value, text }: OptionSpec): readonly string[] {
  const explanation = `[${text.replaceAll(/[[\]\\]/g, "\\$&").replaceAll(":", "\\:")}]`;
  const rest = value === undefined ? "" : `:${value}:${action(value)}`;
  const names = short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`];
  return names.map((spelling) => {
    const assigned = value !== undefined && spelling.startsWith("--") ? "=" : "";
    return `    ${word(`(${names.join(" ")})${spelling}${assigned}${explanation}${rest}`)}`;
  });
}

/** The action of an argument, as \`_arguments\` takes it. */
function action(placeholder: string): string {
  const expected = expectedFor(placeholder);
  switch (expected.kind) {
    case "links":
      return "_mnmctl_links";
    case "files":
      return "_files";
    case "words":
      return placeholder === "COMMAND" ? "_mnmctl_commands" : `(${expected.words.join(" ")})`;
    case "nothing":
      return " ";
  }
}

function word(text: string): string {
  return quoted(text, "sh");
}
