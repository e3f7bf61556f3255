/** The controller: wires the engine to the world and starts it. */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { detach, reportStarted } from "./adapters/background.js";
import { loadConfig } from "./adapters/config-file.js";
import { startController } from "./adapters/controller.js";
import { Log } from "./adapters/log.js";
import { type ControllerOptions, parseOptions, USAGE } from "./adapters/options.js";
import { notify } from "./adapters/sys.js";
import { VERSION } from "./adapters/version.js";
import { formatProblem } from "./config/index.js";

/** sysexits.h: the configuration is at fault, and starting again will not help. */
const EX_CONFIG = 78;
const EX_USAGE = 2;

async function main(argv: readonly string[]): Promise<void> {
  const parsed = parseOptions(argv);
  if (!parsed.ok) return fail(EX_USAGE, `${parsed.error}; see mnm-controller --help`);
  const options = parsed.value;
  if (options.help) {
    process.stdout.write(USAGE);
    return;
  }
  if (options.version) {
    process.stdout.write(`mnm-controller ${VERSION}\n`);
    return;
  }
  const loaded = loadConfig(options.configFile);
  if (!loaded.ok) {
    const lines = loaded.error.map((problem) => formatProblem(problem));
    return fail(
      EX_CONFIG,
      [...lines, "the configuration was refused; nothing was changed"].join("\n"),
    );
  }
  if (options.background && process.send === undefined) return detach(argv);
  await start(options, loaded.value);
}

async function start(
  options: ControllerOptions,
  loaded: {
    readonly config: Parameters<typeof startController>[0]["config"];
    readonly file: string;
  },
): Promise<void> {
  let log: Log;
  try {
    log = new Log({ file: logFileOf(options), level: options.logLevel });
  } catch (error) {
    return fail(1, `the log file ${logFileOf(options)} cannot be opened: ${textOf(error)}`);
  }
  // A bug ends the process with a line in the log; starting again is cheap.
  process.on("uncaughtException", (error) => {
    log.logger.fatal({ stack: error.stack }, "bug: the controller ends");
    process.exit(1);
  });
  try {
    await startController({
      ...options,
      config: loaded.config,
      configFile: loaded.file === "" ? "" : resolve(loaded.file),
      log,
      version: VERSION,
      instance: randomBytes(8).toString("hex"),
      hostName: hostname(),
    });
    reportStarted();
  } catch (error) {
    fail(1, `cannot start: ${textOf(error)}`);
  }
}

function logFileOf({ logFile, background }: ControllerOptions): string | undefined {
  return logFile ?? (background ? "/var/log/mnm.log" : undefined);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function fail(code: number, text: string): void {
  process.stderr.write(`mnm-controller: ${text}\n`);
  // Stays in `systemctl status` of a service that has failed.
  notify(`STATUS=${text.split("\n", 1)[0]}`);
  process.exitCode = code;
  // A start that failed half-way leaves handles behind that would keep the process alive.
  process.exit();
}

void main(process.argv.slice(2));
