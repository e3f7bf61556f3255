import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { err, ok, type Result } from "@mnm/proto/net";
import { capabilityFault, parseCapabilities } from "./capabilities.js";
import { DEFAULT_CONFIG, type HelperConfig, loadConfig } from "./config.js";
import { PROTOCOL_VERSION } from "./connection.js";
import { dropTo } from "./drop-to.js";
import { log } from "./log.js";
import { RouteSocket } from "./route-socket.js";
import { selfCheck } from "./self-check.js";
import { HelperServer } from "./server.js";
import { userNamed } from "./users.js";
import { limitsFrom } from "./verbs.js";
import { feedWatchdog } from "./watchdog.js";

const VERSION = "0.1.0";
const CONFIG_PATH = "/etc/mnm/helper.json";
const SOCKET_PATH = "/run/mnm-helper/helper.sock";

const HINT = "try mnm-helper --help";
const USAGE = `Usage: mnm-helper [--config FILE] [--socket PATH] [--peer-uid UID] [--drop-to USER]
       mnm-helper --self-check [--config FILE] [--peer-uid UID]

The privileged part of MNM: changes addresses, routes and rules and sends DHCP messages for one
other user, and only what FILE allows.

  --config FILE    what may be touched (${CONFIG_PATH}; without it, every link but lo)
  --socket PATH    where to listen (${SOCKET_PATH})
  --peer-uid UID   number of the one user who may connect (that of user ${DEFAULT_CONFIG.peerUid})
  --drop-to USER   as root: begin anew as USER with CAP_NET_ADMIN and CAP_NET_RAW alone
  --self-check     say what this process holds and whether the helper would serve, and exit
  --allow-excess-capabilities
                   serve even with more capabilities than those two
  --help, --version
`;

/** Ends the program before it serves: one sentence, and a status of sysexits.h. */
function fail(status: 1 | 2 | 77 | 78, text: string): never {
  process.stderr.write(`mnm-helper: ${text}\n`);
  process.exit(status);
}

async function serve(values: CommandLine): Promise<void> {
  const settings = settingsFrom(values);
  if (!settings.ok) fail(settings.error.status, settings.error.text);
  const { config, peerUid } = settings.value;
  const capabilities = parseCapabilities(readFileSync("/proc/self/status", "utf8"));
  const { sets, excess } = capabilities;
  const fault = capabilityFault(capabilities, values["allow-excess-capabilities"] === true);
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
  feedWatchdog(process.env, process.pid);
  const socket = isActivated ? "systemd" : path;
  log.info("Listening", { socket, peerUid, version: VERSION });
}

function parseCommandLine() {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const options = {
    ...{ config: text, socket: text, "peer-uid": text, "drop-to": text },
    ...{ "self-check": flag, "allow-excess-capabilities": flag, help: flag, version: flag },
  };
  try {
    return parseArgs({ options }).values;
  } catch (cause) {
    return fail(2, `${cause instanceof Error ? cause.message : cause}; ${HINT}`);
  }
}

type CommandLine = ReturnType<typeof parseCommandLine>;

interface Settings {
  readonly config: HelperConfig;
  readonly peerUid: number;
  /** What was read, for people. */
  readonly text: string;
}

function settingsFrom(
  values: CommandLine,
): Result<Settings, { readonly status: 2 | 78; readonly text: string }> {
  const path = values.config ?? CONFIG_PATH;
  const loaded = loadConfig(path);
  const isAbsent = !loaded.ok && loaded.error.code === "missing" && values.config === undefined;
  if (!loaded.ok && !isAbsent) return err({ status: 78, text: loaded.error.text });
  const config = loaded.ok ? loaded.value : DEFAULT_CONFIG;
  const named = values["peer-uid"];
  if (named !== undefined && !/^\d{1,10}$/.test(named)) {
    return err({ status: 2, text: `--peer-uid must be a number, not ${named}; ${HINT}` });
  }
  const user = config.peerUid;
  const configured = typeof user === "number" ? user : userNamed(user)?.uid;
  const peerUid = named === undefined ? configured : Number(named);
  const nobody = `There is no user ${user} who may connect; create it, or use --peer-uid`;
  if (peerUid === undefined) return err({ status: 78, text: nobody });
  const source = loaded.ok ? path : `no ${path}, so the defaults`;
  const text = `${source}; links ${config.links.join(" ")}; peer uid ${peerUid}`;
  return ok({ config, peerUid, text });
}

function check(values: CommandLine): never {
  const settings = settingsFrom(values);
  const text = settings.ok ? settings.value.text : settings.error.text;
  const mayExceed = values["allow-excess-capabilities"] === true;
  process.exit(selfCheck({ config: { ok: settings.ok, text }, mayExceed }));
}

/** Begins anew with the same command line, but for this option. */
function drop(name: string, { "drop-to": _, ...others }: CommandLine): never {
  if (process.getuid?.() !== 0) fail(77, "Only root can use --drop-to");
  const user = userNamed(name);
  if (user === undefined || user.uid === 0) {
    fail(2, `--drop-to must be a user of /etc/passwd other than root, not ${name}; ${HINT}`);
  }
  const args = Object.entries(others).map(([key, value]) =>
    typeof value === "string" ? `--${key}=${value}` : `--${key}`,
  );
  fail(77, dropTo(user, args));
}

const values = parseCommandLine();
if (values.help) process.stdout.write(USAGE);
else if (values.version) process.stdout.write(`mnm-helper ${VERSION}\n`);
else if (values["drop-to"] !== undefined) drop(values["drop-to"], values);
else if (values["self-check"]) check(values);
else void serve(values);
