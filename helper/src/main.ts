import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { err, ok, type Result } from "@mnm/proto/net";
import { parseCapabilities } from "./capabilities.js";
import { DEFAULT_CONFIG, type HelperConfig, loadConfig } from "./config.js";
import { PROTOCOL_VERSION } from "./connection.js";
import { stderrLog as log } from "./log.js";
import { RouteSocket } from "./route-socket.js";
import { HelperServer } from "./server.js";
import { verbContext } from "./verbs.js";

const VERSION = "0.1.0";
const CONFIG_PATH = "/etc/mnm/helper.json";
const SOCKET_PATH = "/run/mnm-helper/helper.sock";

const USAGE = `Usage: mnm-helper [--config FILE] [--socket PATH] [--peer-uid UID]

The privileged part of MNM: changes addresses, routes and rules and sends DHCP messages for one
other user, and only what FILE allows.

  --config FILE    what may be touched (${CONFIG_PATH}; without it, every link but lo)
  --socket PATH    where to listen (${SOCKET_PATH})
  --peer-uid UID   number of the one user who may connect (that of user ${DEFAULT_CONFIG.peerUid})
  --help, --version
`;

/** What ends the program before it serves: one sentence, and a status of sysexits.h. */
interface StartFault {
  readonly status: 1 | 2 | 77 | 78;
  readonly text: string;
}

interface Settings {
  readonly config: HelperConfig;
  readonly socketPath: string;
  readonly peerUid: number;
}

async function main(): Promise<StartFault | undefined> {
  const parsed = parseCommandLine();
  if (!parsed.ok) return parsed.error;
  if (parsed.value.help || parsed.value.version) {
    process.stdout.write(parsed.value.help ? USAGE : `mnm-helper ${VERSION}\n`);
    return undefined;
  }
  const settings = settingsFrom(parsed.value);
  return settings.ok ? await serve(settings.value) : settings.error;
}

async function serve({ config, socketPath, peerUid }: Settings): Promise<StartFault | undefined> {
  const capabilities = parseCapabilities(readFileSync("/proc/self/status", "utf8"));
  const { missing, excess } = capabilities;
  if (missing.length > 0) {
    return { status: 77, text: `The helper needs ${missing.join(" and ")}, but does not hold it` };
  }
  log.info("Capabilities", { ...capabilities.sets, uid: process.getuid?.() });
  if (excess.length > 0) log.warn("MORE CAPABILITIES THAN THE HELPER SHOULD HOLD", { excess });

  const context = { allow: config, socket: new RouteSocket(), log };
  const hello = {
    protocolVersion: PROTOCOL_VERSION,
    version: VERSION,
    capabilities: capabilities.sets["CapEff"] ?? [],
    links: config.links,
    instance: randomUUID(),
  };
  const server = new HelperServer({
    context: verbContext(context, () => performance.now()),
    hello,
    peerUid,
  });
  // sd_listen_fds(3): one socket, and meant for this process.
  const { LISTEN_PID, LISTEN_FDS } = process.env;
  const isActivated = LISTEN_PID === String(process.pid) && LISTEN_FDS === "1";
  const listening = await server.listen(isActivated ? { fd: 3 } : { path: socketPath });
  if (!listening.ok) return { status: 1, text: `Cannot listen: ${listening.error}` };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info("Stopping", { signal });
      server.close();
      process.exit(0);
    });
  }
  log.info("Listening", {
    socket: isActivated ? "systemd" : socketPath,
    peerUid,
    version: VERSION,
  });
  return undefined;
}

function parseCommandLine() {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const options = { config: text, socket: text, "peer-uid": text, help: flag, version: flag };
  try {
    return ok(parseArgs({ options }).values);
  } catch (cause) {
    return usageFault(cause instanceof Error ? cause.message : String(cause));
  }
}

function settingsFrom(values: {
  readonly config?: string;
  readonly socket?: string;
  readonly "peer-uid"?: string;
}): Result<Settings, StartFault> {
  const loaded = loadConfig(values.config ?? CONFIG_PATH);
  const isAbsent = !loaded.ok && loaded.error.code === "missing" && values.config === undefined;
  if (!loaded.ok && !isAbsent) return err({ status: 78, text: loaded.error.text });
  const config = loaded.ok ? loaded.value : DEFAULT_CONFIG;
  const named = values["peer-uid"];
  if (named !== undefined && !/^\d{1,10}$/.test(named)) {
    return usageFault(`--peer-uid must be a number, not ${named}`);
  }
  const peerUid = named === undefined ? uidOf(config.peerUid) : Number(named);
  const nobody = `There is no user ${config.peerUid} who may connect; create it, or use --peer-uid`;
  if (peerUid === undefined) return err({ status: 78, text: nobody });
  return ok({ config, socketPath: values.socket ?? SOCKET_PATH, peerUid });
}

/** By /etc/passwd alone: other directories would need the network, or NSS's libraries. */
function uidOf(user: string | number): number | undefined {
  if (typeof user === "number") return user;
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  const entry = lines.map((line) => line.split(":")).find(([name]) => name === user);
  return entry?.[2] === undefined ? undefined : Number(entry[2]);
}

function usageFault(text: string): Result<never, StartFault> {
  return err({ status: 2, text: `${text}; try mnm-helper --help` });
}

const fault = await main();
if (fault !== undefined) {
  process.stderr.write(`mnm-helper: ${fault.text}\n`);
  process.exitCode = fault.status;
}
