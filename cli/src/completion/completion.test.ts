import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS } from "../command-table.js";
import { run } from "../run.js";
import { FakeController, LINK } from "../testing/fake-controller.js";
import { Terminal } from "../testing/terminal.js";
import { expectedFor, SHELLS } from "./words.js";

let fake: FakeController;

beforeEach(() => {
  fake = new FakeController();
});

afterEach(() => fake.remove());

async function complete(what: string) {
  const terminal = new Terminal({ env: { MNM_SOCKET: fake.socket } });
  const code = await run(["completion", what], terminal);
  return { code, stdout: terminal.stdout, stderr: terminal.stderr };
}

const commands: readonly CommandSpec[] = COMMANDS;

/** Placeholders for which there is nothing to offer. A new one belongs here or into words.ts. */
const OPEN = ["N", "SEQ", "TIME"];

describe("mnmctl completion", () => {
  for (const shell of SHELLS) {
    test(`${shell}: names every command and option of the table`, async () => {
      const { code, stdout } = await complete(shell);
      assert.equal(code, 0);
      for (const { name } of commands) assert.match(stdout, new RegExp(`\\b${name}\\b`), name);
      for (const { name } of [...GLOBAL_OPTIONS, ...commands.flatMap(({ options }) => options)]) {
        const spelling = shell === "fish" ? `-l ${name}` : `--${name}`;
        assert.ok(stdout.includes(spelling), name);
      }
    });
  }

  test("every placeholder of the table is known", () => {
    const values = [...GLOBAL_OPTIONS, ...commands.flatMap(({ options }) => options)];
    const names = commands.flatMap((spec) => spec.arguments.map(({ name }) => name));
    for (const name of [...names, ...values.flatMap(({ value }) => value ?? [])]) {
      assert.equal(expectedFor(name).kind === "nothing", OPEN.includes(name), name);
    }
  });

  test("another shell is refused, with those that there are", async () => {
    assert.deepEqual(await complete("tcsh"), {
      code: 2,
      stdout: "",
      stderr: "error: there is no completion for tcsh; choose bash, zsh, fish\n",
    });
  });

  test("links: one name a line, but those that no terminal should see", async () => {
    const links = ["eth0", "$(id)", "e\x1b[2Jx"].map((name) => ({ ...LINK, name }));
    await fake.start({ unary: { listLinks: () => ({ value: { links } }) } });
    assert.deepEqual(await complete("links"), { code: 0, stdout: "eth0\n$(id)\n", stderr: "" });
  });

  test("links: nothing when nobody answers, after a second", async () => {
    await fake.start({ unary: { listLinks: () => undefined } });
    assert.deepEqual(await complete("links"), { code: 0, stdout: "", stderr: "" });
  });

  test("links: nothing when there is no controller", async () => {
    assert.deepEqual(await complete("links"), { code: 0, stdout: "", stderr: "" });
  });
});
