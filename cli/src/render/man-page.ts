import {
  COMMANDS,
  type CommandSpec,
  DEFAULT_SOCKET,
  EXIT_STATUS,
  GLOBAL_OPTIONS,
  type OptionSpec,
  usageOf,
} from "../command-table.js";
import { optionName } from "./help.js";

/** mnmctl(1) in man(7) macros, from the table that `mnmctl help` is made from. */
export function manPage(version: string): string {
  const commands: readonly CommandSpec[] = COMMANDS;
  const lines = [
    '.\\" Made from cli/src/command-table.ts by scripts/man.mjs; do not edit.',
    `.TH MNMCTL 1 "" "mnm ${version}" "Multi Network Manager"`,
    ".SH NAME",
    "mnmctl \\- ask and steer the Multi Network Manager",
    ".SH SYNOPSIS",
    ".B mnmctl",
    "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
    ".SH DESCRIPTION",
    roff(
      "mnmctl talks to mnm-controller(8), which makes every uplink of this host usable at once. Anybody may ask; root and members of group mnm-admin may change things.",
    ),
    ".SH OPTIONS",
    "They may stand before or after the command.",
    ...GLOBAL_OPTIONS.flatMap(optionLines),
    ".SH COMMANDS",
    ...commands.flatMap(commandLines),
    ".SH EXIT STATUS",
    ...EXIT_STATUS.flatMap(({ code, text }) => [".TP", `.B ${code}`, roff(text)]),
    ".SH ENVIRONMENT",
    ".TP",
    ".B MNM_SOCKET",
    "The controller's socket, unless \\fB\\-\\-socket\\fR names one.",
    ".TP",
    ".B NO_COLOR",
    "Set to anything, it turns colour off.",
    ".SH FILES",
    ".TP",
    `.I ${roff(DEFAULT_SOCKET)}`,
    "The controller's socket.",
    ".SH SEE ALSO",
    ".BR mnm.yaml (5),",
    ".BR mnm\\-controller (8),",
    ".BR mnm\\-helper (8)",
  ];
  return `${lines.join("\n")}\n`;
}

function commandLines(spec: CommandSpec): readonly string[] {
  const examples = spec.examples.map(roff).flatMap((text) => [text, ".br"]);
  return [
    `.SS ${roff(usageOf(spec))}`,
    `${roff(capitalised(spec.summary))}.`,
    ...spec.details.flatMap((paragraph) => [".PP", roff(paragraph)]),
    ...spec.options.flatMap(optionLines),
    ".PP",
    "Example:",
    ".RS",
    ...examples.slice(0, -1),
    ".RE",
  ];
}

function optionLines(option: OptionSpec): readonly string[] {
  return [".TP", `.B ${roff(optionName(option))}`, roff(option.text)];
}

/** Text for troff: minus signs stay minus signs, and no line begins with a request. */
function roff(text: string): string {
  const escaped = text.replaceAll("\\", "\\e").replaceAll("-", "\\-");
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
