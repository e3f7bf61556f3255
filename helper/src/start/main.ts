import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { err, ok } from "@mnm/proto/net";
import { PROTOCOL_VERSION } from "../connection.js";
import { log } from "../log.js";
import { RouteSocket } from "../route-socket.js";
import { HelperServer } from "../server.js";
import { limitsFrom } from "../verbs.js";
import { judgeCapabilities, shortened } from "./capabilities.js";
import { loadConfig } from "./config.js";
import { feedWatchdog } from "./watchdog.js";

const VERSION = "0.1.0";

// Those for people, --help and --drop-to, are of the script that starts this: helper/bin.
const OPTIONS = {
  config: { type: "string" },
  socket: { type: "string", default: "/run/mnm-helper/helper.sock" },
  "peer-uid": { type: "string" },
  "self-check": { type: "boolean", default: false },
  "allow-excess-capabilities": { type: "boolean", default: false },
  version: { type: "boolean", default: false },
} as const;

/** Ends the program before it serves: one sentence, and a status of sysexits.h. */
function fail(status: 1 | 2 | 77 | 78, text: string): never {
  process.stderr.write(`mnm-helper: ${text}\n`);
  process.exit(status);
}

function parseCommandLine() {
  try {
    const { values } = parseArgs({ options: OPTIONS });
    const uid = values["peer-uid"];
    if (uid === undefined || /^\d{1,10}$/.test(uid)) return values;
    throw new TypeError(`--peer-uid must be a number, not ${uid}`);
  } catch (cause) {
    return fail(2, `${cause instanceof Error ? cause.message : cause}; try mnm-helper --help`);
  }
}

type CommandLine = ReturnType<typeof parseCommandLine>;

/** By /etc/passwd alone: other directories would need the network, or NSS's libraries. */
function uidOf(name: string): number | undefined {
  const entries = readFileSync("/etc/passwd", "utf8").split("\n");
  const found = entries.map((line) => line.split(":")).find(([first]) => first === name);
  return found?.[2] === undefined ? undefined : Number(found[2]);
}

/** What the helper would serve with; else why it cannot. */
function settingsFrom(values: CommandLine) {
  const loaded = loadConfig(values.config);
  if (!loaded.ok) return loaded;
  const { config, source } = loaded.value;
  const named = values["peer-uid"];
  const user = named === undefined ? config.peerUid : Number(named);
  const peerUid = typeof user === "number" ? user : uidOf(user);
  if (peerUid === undefined) {
    return err(`There is no user ${user} who may connect; create it, or use --peer-uid`);
  }
  const text = `${source}; links ${config.links.join(" ")}; peer uid ${peerUid}`;
  return ok({ config, peerUid, text });
}

function capabilitiesOf(values: CommandLine) {
  const status = readFileSync("/proc/self/status", "utf8");
  return judgeCapabilities(status, values["allow-excess-capabilities"]);
}

/** What `--self-check` prints; the script in helper/bin says the rest. */
function selfCheck(values: CommandLine): never {
  const settings = settingsFrom(values);
  const { sets, fault } = capabilitiesOf(values);
  const result = fault ?? (settings.ok ? "fit to serve" : "unfit: configuration");
  const lines = [
    ...Object.entries(sets).map(([set, names]) => [set, shortened(names)] as const),
    ["configuration", settings.ok ? settings.value.text : settings.error],
    ["result", result],
  ] as const;
  for (const [name, text] of lines) process.stdout.write(`${name.padEnd(14)} ${text}\n`);
  if (fault !== undefined) process.exit(77);
  process.exit(settings.ok ? 0 : 78);
}

async function serve(values: CommandLine): Promise<void> {
  const settings = settingsFrom(values);
  if (!settings.ok) fail(78, settings.error);
  const { config, peerUid } = settings.value;
  const { sets, excess, fault } = capabilitiesOf(values);
  if (fault !== undefined) fail(77, fault);
  log.info("Capabilities", { ...sets, uid: process.getuid?.() });
  if (excess.length > 0) log.warn("MORE CAPABILITIES THAN THE HELPER SHOULD HOLD", { excess });

  const limits = limitsFrom(() => performance.now());
  const context = { allow: config, socket: new RouteSocket(), limits };
  const hello = {
    protocolVersion: PROTOCOL_VERSION,
    version: VERSION,
    capabilities: sets["CapEff"] ?? [],
    links: config.links,
    instance: randomUUID(),
  };
  const server = new HelperServer({ context, hello, peerUid });
  // sd_listen_fds(3): one socket, and meant for this process.
  const { LISTEN_PID, LISTEN_FDS } = process.env;
  const isActivated = LISTEN_PID === String(process.pid) && LISTEN_FDS === "1";
  const listening = await server.listen(isActivated ? { fd: 3 } : { path: values.socket });
  if (!listening.ok) fail(1, `Cannot listen: ${listening.error}`);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info("Stopping", { signal });
      server.close();
      process.exit(0);
    });
  }
  feedWatchdog(process.env, process.pid);
  const socket = isActivated ? "systemd" : values.socket;
  log.info("Listening", { socket, peerUid, version: VERSION });
}

const values = parseCommandLine();
if (values.version) process.stdout.write(`mnm-helper ${VERSION}\n`);
else if (values["self-check"]) selfCheck(values);
else void serve(values);
