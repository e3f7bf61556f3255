import { type Invocation, parseCommandLine } from "./arguments.js";
import { type CommandName, DEFAULT_SOCKET, isCommandName, specOf } from "./command-table.js";
import { ExitCode } from "./exit-code.js";
import type { Io, Session } from "./io.js";
import { commandPage, overviewPage } from "./render/help.js";
import { formatPage } from "./render/page.js";
import { refuseUsage } from "./usage.js";

/** A command's own words and options, already checked against the table. */
export type Command = (invocation: Invocation, session: Session) => Promise<ExitCode>;

/** Loaded when asked for: gRPC and YAML are most of the start-up time. */
const LOADERS: Readonly<Record<Exclude<CommandName, "help">, () => Promise<Command>>> = {
  status: async () => (await import("./commands/status.js")).status,
  link: async () => (await import("./commands/link.js")).link,
  "set-metric": async () => (await import("./commands/set-metric.js")).setMetric,
  events: async () => (await import("./commands/events.js")).events,
  renew: async () => (await import("./commands/renew.js")).renew,
  release: async () => (await import("./commands/release.js")).release,
  reconnect: async () => (await import("./commands/reconnect.js")).reconnect,
  reload: async () => (await import("./commands/reload.js")).reload,
  leases: async () => (await import("./commands/leases.js")).leases,
  check: async () => (await import("./commands/check.js")).check,
  "wait-online": async () => (await import("./commands/wait-online.js")).waitOnline,
  completion: async () => (await import("./commands/completion.js")).completion,
  version: async () => (await import("./commands/version.js")).version,
};

/** Runs one command line (without node and script) and gives the exit status. */
export async function run(argv: readonly string[], io: Io): Promise<ExitCode> {
  const parsed = parseCommandLine(argv);
  if (!parsed.ok) return refuseUsage(parsed.error, io);
  const { command, words, options } = parsed.value;
  const session = sessionOf(options, io);
  if (options.has("version")) return (await LOADERS.version())(parsed.value, session);
  if (command === undefined && !options.has("help")) {
    io.err(formatPage(overviewPage(), false));
    return ExitCode.usage;
  }
  if (command === undefined || command === "help") return help(words[0], session);
  if (options.has("help")) return help(command, session);
  const perform = await LOADERS[command]();
  return perform(parsed.value, session);
}

function help(name: string | undefined, { io, useColor }: Session): ExitCode {
  if (name !== undefined && !isCommandName(name)) {
    return refuseUsage({ text: `mnmctl has no command ${name}`, hint: "see mnmctl help" }, io);
  }
  const page = name === undefined ? overviewPage() : commandPage(specOf(name));
  io.out(formatPage(page, useColor));
  return ExitCode.done;
}

function sessionOf(options: ReadonlyMap<string, string>, io: Io): Session {
  const { MNM_SOCKET: fromEnvironment } = io.env;
  const inherited =
    fromEnvironment === undefined || fromEnvironment === "" ? DEFAULT_SOCKET : fromEnvironment;
  return {
    io,
    socket: options.get("socket") ?? inherited,
    json: options.has("json"),
    useColor: useColorOf(options.get("color"), io),
  };
}

function useColorOf(when: string | undefined, { env, isTerminal }: Io): boolean {
  if (when === "always" || when === "never") return when === "always";
  const { NO_COLOR: noColor, TERM: term } = env;
  // https://no-color.org: set and not empty, whatever the value.
  return isTerminal && (noColor === undefined || noColor === "") && term !== "dumb";
}
