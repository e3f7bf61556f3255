import { ExitCode } from "./exit-code.js";
import type { Io } from "./io.js";
import { run } from "./run.js";

const io: Io = {
  env: process.env,
  isTerminal: process.stdout.isTTY === true,
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  interruption: () => {
    const controller = new AbortController();
    process.once("SIGINT", () => controller.abort());
    process.once("SIGTERM", () => controller.abort());
    return controller.signal;
  },
};

// `mnmctl events | head` closes the pipe when it has enough.
process.stdout.on("error", () => process.exit(ExitCode.done));

run(process.argv.slice(2), io).then(
  (code) => {
    process.exitCode = code;
  },
  (bug: unknown) => {
    const text = bug instanceof Error ? bug.message : String(bug);
    io.err(`error: mnmctl has a bug: ${text}; please report it\n`);
    process.exitCode = ExitCode.failed;
  },
);
