import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS } from "../command-table.js";
import { type Expected, expectedFor, optionsWithValue, spellings } from "./words.js";

/**
 * The script for bash 4 and newer. It needs nothing of the package bash-completion. Names of links
 * are compared and quoted one by one: `compgen -W` would expand them, and `$(reboot)` is a name that
 * the kernel allows.
 */
export function bashScript(): string {
  const commands: readonly CommandSpec[] = COMMANDS;
  const withValue = optionsWithValue();
  const options = (specs: readonly CommandSpec["options"][number][]) =>
    specs.flatMap(spellings).join(" ");
  return `# bash completion for mnmctl. Made by: mnmctl completion bash
_mnmctl_offer() {
  local word
  for word in "$@"; do
    [[ $word == "$cur"* ]] && printf -v word %q "$word" && COMPREPLY+=("$word")
  done
}
_mnmctl_links() {
  local -a links
  mapfile -t links < <("$program" completion links 2>/dev/null)
  _mnmctl_offer "\${links[@]}"
}
_mnmctl_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}
_mnmctl() {
  local program=$1 cur=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  local word command= skip= options
  local -i at=-1 index
  COMPREPLY=()
  # Readline makes three words of --color=never.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $previous == = ]]; then
    previous=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $previous in
${withValue.map(({ name, value }) => `    --${name}) ${offer(expectedFor(value))}; return ;;`).join("\n")}
  esac
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ -n $skip ]]; then
      [[ $word == = ]] || skip=
      continue
    fi
    case $word in
      ${withValue.map(({ name }) => `--${name}`).join("|")}) skip=1 ;;
      -*) ;;
      *) [[ -n $command ]] || command=$word; at+=1 ;;
    esac
  done
  if [[ $cur == -* ]]; then
    options=(${options(GLOBAL_OPTIONS)})
    case $command in
${commands
  .filter(({ options: own }) => own.length > 0)
  .map((spec) => `      ${spec.name}) options+=(${options(spec.options)}) ;;`)
  .join("\n")}
    esac
    _mnmctl_offer "\${options[@]}"
    return
  fi
  case $command:$at in
    :-1) _mnmctl_offer ${commands.map(({ name }) => name).join(" ")} ;;
${commands.flatMap(argumentCases).join("\n")}
  esac
}
complete -F _mnmctl mnmctl
`;
}

function argumentCases(spec: CommandSpec): readonly string[] {
  return spec.arguments.flatMap(({ name, repeated = false }, index) => {
    const expected = expectedFor(name);
    const at = repeated ? "*" : index;
    return expected.kind === "nothing" ? [] : [`    ${spec.name}:${at}) ${offer(expected)} ;;`];
  });
}

function offer(expected: Expected): string {
  switch (expected.kind) {
    case "links":
      return "_mnmctl_links";
    case "files":
      return "_mnmctl_files";
    case "words":
      return `_mnmctl_offer ${expected.words.join(" ")}`;
    case "nothing":
      return ":";
  }
}
