import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { parseCapabilities } from "./capabilities.js";
import { DEFAULT_CONFIG, loadConfig } from "./config.js";
import { PROTOCOL_VERSION } from "./connection.js";
import { log } from "./log.js";
import { RouteSocket } from "./route-socket.js";
import { HelperServer } from "./server.js";
import { limitsFrom } from "./verbs.js";

const VERSION = "0.1.0";
const CONFIG_PATH = "/etc/mnm/helper.json";
const SOCKET_PATH = "/run/mnm-helper/helper.sock";

const HINT = "try mnm-helper --help";
const USAGE = `Usage: mnm-helper [--config FILE] [--socket PATH] [--peer-uid UID]

The privileged part of MNM: changes addresses, routes and rules and sends DHCP messages for one
other user, and only what FILE allows.

  --config FILE    what may be touched (${CONFIG_PATH}; without it, every link but lo)
  --socket PATH    where to listen (${SOCKET_PATH})
  --peer-uid UID   number of the one user who may connect (that of user ${DEFAULT_CONFIG.peerUid})
  --help, --version
`;

/** Ends the program before it serves: one sentence, and a status of sysexits.h. */
function fail(status: 1 | 2 | 77 | 78, text: string): never {
  process.stderr.write(`mnm-helper: ${text}\n`);
  process.exit(status);
}

async function serve(values: ReturnType<typeof parseCommandLine>): Promise<void> {
  const { config, peerUid } = settingsFrom(values);
  const { missing, excess, sets } = parseCapabilities(readFileSync("/proc/self/status", "utf8"));
  if (missing.length > 0) {
    fail(77, `The helper needs ${missing.join(" and ")}, but does not hold it`);
  }
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
  const path = values.socket ?? SOCKET_PATH;
  const listening = await server.listen(isActivated ? { fd: 3 } : { path });
  if (!listening.ok) fail(1, `Cannot listen: ${listening.error}`);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info("Stopping", { signal });
      server.close();
      process.exit(0);
    });
  }
  const socket = isActivated ? "systemd" : path;
  log.info("Listening", { socket, peerUid, version: VERSION });
}

function parseCommandLine() {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const options = { config: text, socket: text, "peer-uid": text, help: flag, version: flag };
  try {
    return parseArgs({ options }).values;
  } catch (cause) {
    return fail(2, `${cause instanceof Error ? cause.message : cause}; ${HINT}`);
  }
}

function settingsFrom(values: ReturnType<typeof parseCommandLine>) {
  const loaded = loadConfig(values.config ?? CONFIG_PATH);
  const isAbsent = !loaded.ok && loaded.error.code === "missing" && values.config === undefined;
  if (!loaded.ok && !isAbsent) fail(78, loaded.error.text);
  const config = loaded.ok ? loaded.value : DEFAULT_CONFIG;
  const named = values["peer-uid"];
  if (named !== undefined && !/^\d{1,10}$/.test(named)) {
    fail(2, `--peer-uid must be a number, not ${named}; ${HINT}`);
  }
  const peerUid = named === undefined ? uidOf(config.peerUid) : Number(named);
  const nobody = `There is no user ${config.peerUid} who may connect; create it, or use --peer-uid`;
  return { config, peerUid: peerUid ?? fail(78, nobody) };
}

/** By /etc/passwd alone: other directories would need the network, or NSS's libraries. */
function uidOf(user: string | number): number | undefined {
  if (typeof user === "number") return user;
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  const entry = lines.map((line) => line.split(":")).find(([name]) => name === user);
  return entry?.[2] === undefined ? undefined : Number(entry[2]);
}

const values = parseCommandLine();
if (values.help) process.stdout.write(USAGE);
else if (values.version) process.stdout.write(`mnm-helper ${VERSION}\n`);
else void serve(values);
