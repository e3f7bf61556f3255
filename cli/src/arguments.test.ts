import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseCommandLine } from "./arguments.js";
import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS } from "./command-table.js";

/** A command line as `command words | options`, or as the error. */
function parsed(line: string): string {
  const result = parseCommandLine(line === "" ? [] : line.split(" "));
  if (!result.ok) return `${result.error.text}; ${result.error.hint}`;
  const { command, words, options } = result.value;
  const said = [...options].map(([name, value]) => (value === "" ? name : `${name}=${value}`));
  return `${[command ?? "-", ...words].join(" ")} | ${said.join(" ")}`;
}

describe("parseCommandLine", () => {
  const rows: readonly (readonly [string, string])[] = [
    ["", "- | "],
    ["--help", "- | help"],
    ["--version", "- | version"],
    ["set-metric --version", "set-metric | version"],
    ["status", "status | "],
    ["--json status", "status | json"],
    ["status --socket /run/x", "status | socket=/run/x"],
    ["--socket=/run/x status", "status | socket=/run/x"],
    ["--swap set-metric eth0 5", "set-metric eth0 5 | swap"],
    ["set-metric eth0 --persist 5 --swap", "set-metric eth0 5 | persist swap"],
    ["events -f --since 7", "events | follow since=7"],
    ["link", "link | "],
    ["link eth0", "link eth0 | "],
    ["link -- -odd", "link -odd | "],
    ["set-metric --help", "set-metric | help"],
    ["help set-metric", "help set-metric | "],
    ["stauts", "mnmctl has no command stauts; did you mean status?"],
    ["re", "mnmctl has no command re; did you mean renew or release or reconnect or reload?"],
    ["x", "mnmctl has no command x; see mnmctl help"],
    ["status --swap", "mnmctl status has no option --swap; see mnmctl help status"],
    ["status -x", "mnmctl status has no option -x; see mnmctl help status"],
    ["--nonsense", "mnmctl has no option --nonsense; see mnmctl help"],
    ["status --socket", "option --socket needs a value; write --socket PATH"],
    ["status --socket --json", "option --socket needs a value; write --socket PATH"],
    ["status --json=yes", "option --json takes no value; see mnmctl help status"],
    ["status --color red", "--color red is not auto, always or never; choose one of them"],
    ["status eth0", "mnmctl status has no use for eth0; see mnmctl help status"],
    ["set-metric eth0", "mnmctl set-metric needs N; see mnmctl help set-metric"],
    ["renew", "mnmctl renew needs LINK; see mnmctl help renew"],
    ["release", "mnmctl release needs LINK; see mnmctl help release"],
    ["reconnect a b", "mnmctl reconnect has no use for b; see mnmctl help reconnect"],
  ];
  for (const [line, want] of rows) {
    test(`mnmctl ${line}`, () => assert.equal(parsed(line), want));
  }
});

test("one option has one form in all commands, because it is read before the command is known", () => {
  const commands: readonly CommandSpec[] = COMMANDS;
  const forms = new Map<string, string>();
  for (const option of [...GLOBAL_OPTIONS, ...commands.flatMap(({ options }) => options)]) {
    for (const name of [option.name, option.short ?? option.name]) {
      const form = `${option.name} ${option.value}`;
      assert.equal(forms.get(name) ?? form, form);
      forms.set(name, form);
    }
  }
});
