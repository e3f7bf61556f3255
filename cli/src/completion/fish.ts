import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS, type OptionSpec } from "../command-table.js";
import { type Expected, expectedFor, optionsWithValue, quoted } from "./words.js";

/** The script for fish 3 and newer. */
export function fishScript(): string {
  const commands: readonly CommandSpec[] = COMMANDS;
  const withValue = optionsWithValue().map(({ name }) => `--${name}`);
  return `# fish completion for mnmctl. Made by: mnmctl completion fish
function __mnmctl_words
    # Command and arguments before the cursor, without options and their values.
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case ${withValue.join(" ")}
                set skip 1
            case '-*'
            case '*'
                echo $word
        end
    end
end
function __mnmctl_in
    set -l words (__mnmctl_words)
    test "$words[1]" = $argv[1]
end
function __mnmctl_at
    set -l words (__mnmctl_words)
    test (count $words) $argv[2] $argv[3]; and test "$words[1]" = $argv[1]
end
complete -c mnmctl -f
${GLOBAL_OPTIONS.map((option) => `complete -c mnmctl ${optionWords(option)}`).join("\n")}
${commands.flatMap(commandLines).join("\n")}
`;
}

function commandLines(spec: CommandSpec): readonly string[] {
  const begins = "-n 'test (count (__mnmctl_words)) -eq 0'";
  return [
    `complete -c mnmctl ${begins} -a ${spec.name} -d ${quoted(spec.summary, "fish")}`,
    ...spec.options.map(
      (option) => `complete -c mnmctl -n '__mnmctl_in ${spec.name}' ${optionWords(option)}`,
    ),
    ...spec.arguments.flatMap(({ name, repeated = false }, index) => {
      const what = candidates(expectedFor(name));
      const where = `-n '__mnmctl_at ${spec.name} ${repeated ? "-ge" : "-eq"} ${index + 1}'`;
      return what === "" ? [] : [`complete -c mnmctl ${where} ${what}`];
    }),
  ];
}

function optionWords({ name, short, value, text }: OptionSpec): string {
  const names = short === undefined ? `-l ${name}` : `-s ${short} -l ${name}`;
  const rest = value === undefined ? "" : ` -x ${candidates(expectedFor(value))}`;
  return `${names}${rest.trimEnd().replace("-x -F", "-r -F")} -d ${quoted(text, "fish")}`;
}

function candidates(expected: Expected): string {
  switch (expected.kind) {
    case "links":
      return "-a '(command mnmctl completion links 2>/dev/null)'";
    case "files":
      return "-F";
    case "words":
      return `-a ${quoted(expected.words.join(" "), "fish")}`;
    case "nothing":
      return "";
  }
}
