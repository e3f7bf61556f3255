import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { programFile } from "../lab/identity.js";
import { must, run } from "../lab/run.js";

/** A link that is named so may stand on a host; a shell must not run what it says. */
const TRICKY = "$(touch$IFS"; // 11 of the 15 characters that a name may have.

const scratch = mkdtempSync(join(tmpdir(), "mnm-completion-"));
const bin = join(scratch, "mnmctl");
const MNMCTL = programFile("mnmctl");

before(async () => {
  // The scripts are mnmctl's own; only the names of links are from here.
  const shell = `#!/bin/sh
case "$*" in
  "completion links") printf '%s\\n' wan0 wan1 wwan0 '${TRICKY}' ;;
  *) exec ${process.execPath} ${MNMCTL} "$@" ;;
esac
`;
  writeFileSync(bin, shell, { mode: 0o755 });
  for (const name of ["bash", "zsh", "fish"]) {
    writeFileSync(join(scratch, name), await must(bin, ["completion", name]));
  }
  writeFileSync(join(scratch, "_mnmctl"), await must(bin, ["completion", "zsh"]));
  writeFileSync(join(scratch, "wan.yaml"), "");
});
after(() => rmSync(scratch, { recursive: true, force: true }));

/** What a shell offers for a line, the cursor at its end. */
type Offer = (line: string) => Promise<readonly string[]>;

const env = {
  PATH: `${scratch}:${process.env["PATH"]}`,
  HOME: scratch,
  TERM: "dumb",
  LC_ALL: "C.UTF-8",
};

async function linesOf(command: string, args: readonly string[]): Promise<readonly string[]> {
  const { stdout, stderr, code } = await run(command, args, { env });
  assert.equal(code, 0, stderr);
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .toSorted();
}

/** Bash splits words at = as readline does: COMP_WORDBREAKS has it. */
const bash: Offer = (line) => {
  const script = `
    cd "$1" && source ./bash || exit 9
    words=() word=
    for ((i = 0; i < \${#2}; i++)); do
      c=\${2:i:1}
      case $c in
        ' ') [[ -n $word ]] && words+=("$word"); word= ;;
        '=') [[ -n $word ]] && words+=("$word"); words+=(=); word= ;;
        *) word+=$c ;;
      esac
    done
    [[ $c == = ]] || words+=("$word")
    COMP_WORDS=("\${words[@]}") COMP_CWORD=$((\${#words[@]} - 1))
    _mnmctl mnmctl "" ""
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  return linesOf("bash", ["--norc", "-c", script, "bash", scratch, line]);
};

const fish: Offer = async (line) => {
  const script = "cd $argv[1]; source ./fish; complete -C $argv[2]";
  const lines = await linesOf("fish", ["--no-config", "-c", script, scratch, line]);
  return lines.map((text) => text.split("\t")[0] ?? "");
};

/** Zsh completes only in its line editor: in a terminal of zsh's own making. */
const zsh: Offer = (line) => {
  const inner = `
    PS1=READY; fpath=("$1" $fpath); cd "$1"
    autoload -Uz compinit; compinit -u -D
    zstyle ":completion:*" verbose no
    # What would be shown is told instead; -O, -A and -D are the system's own bookkeeping.
    compadd() {
      if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return; fi
      local -a hits
      builtin compadd -O hits "$@"
      local hit
      for hit in $hits; do print -r -- "HIT $hit"; done >>"$HITS"
      builtin compadd "$@"
    }
    `;
  const outer = `
    zmodload zsh/zpty
    export HITS="$1/hits.$$"; : >"$HITS"
    print -r -- "$3" >"$1/rc.$$"
    zpty shell "zsh -f -i"
    zpty -w shell "source $1/rc.$$ $1; print BEG''UN"
    zpty -r shell ready '*BEGUN*'
    zpty -w -n shell "$2"$'\\t'
    zpty -w -n shell $'\\C-a\\C-kprint EN'"''"$'DED\\n'
    zpty -r shell ended '*ENDED*'
    zpty -d shell
    sed 's/^HIT //; s/ $//' "$HITS"`;
  return linesOf("zsh", ["-f", "-c", outer, "zsh", scratch, line, inner]);
};

const shells = { bash, zsh, fish };

for (const [name, offer] of Object.entries(shells)) {
  describe(`completion in ${name}`, () => {
    test("commands", async () => {
      const offered = await offer("mnmctl re");
      assert.deepEqual(offered, ["reconnect", "release", "reload", "renew"]);
    });

    test("the names of links that the controller knows", async () => {
      assert.deepEqual(await offer("mnmctl renew wa"), ["wan0", "wan1"]);
    });

    test("after options and their values", async () => {
      assert.deepEqual(await offer("mnmctl --socket /x --json renew ww"), ["wwan0"]);
    });

    test("one more name where there may be any number", async () => {
      assert.deepEqual(await offer("mnmctl wait-online wan0 wan1 ww"), ["wwan0"]);
    });

    test("nothing after the last argument", async () => {
      assert.deepEqual(await offer("mnmctl renew wan0 wa"), []);
    });

    test("the options of the command, and those of all", async () => {
      assert.deepEqual(await offer("mnmctl set-metric --s"), ["--socket", "--swap"]);
    });

    test("the words that an option takes", async () => {
      assert.deepEqual(await offer("mnmctl --color a"), ["always", "auto"]);
      assert.deepEqual(
        (await offer("mnmctl --color=n")).map((word) => word.replace("--color=", "")),
        ["never"],
      );
    });

    test("files where a file is wanted, and only there", async () => {
      assert.deepEqual(await offer("mnmctl check wa"), ["wan.yaml"]);
    });

    test("the commands that help explains, and the shells", async () => {
      assert.deepEqual(await offer("mnmctl help set"), ["set-metric"]);
      assert.deepEqual(await offer("mnmctl completion f"), ["fish"]);
    });

    test("a link's name is text, whatever it says", async () => {
      const offered = await offer("mnmctl release ");
      assert.equal(offered.length, 4, offered.join());
      // Bash puts what is offered into the line as it is.
      const tricky = name === "bash" ? "\\$\\(touch\\$IFS" : TRICKY;
      assert.ok(offered.includes(tricky), offered.join());
    });
  });
}

test("mnmctl completion links is silent when there is no controller", async () => {
  const socket = join(scratch, "no.sock");
  const { code, stdout, stderr } = await run(process.execPath, [
    MNMCTL,
    ...["--socket", socket, "completion", "links"],
  ]);
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
});
