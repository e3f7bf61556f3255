import { parseArgs } from "node:util";
import { err, ok, type Result } from "@mnm/proto/net";

/** The command line, with its defaults. MULTI's options keep their letters. */
export interface ControllerOptions {
  readonly configFile: string | undefined;
  readonly helperSocket: string;
  readonly socket: string;
  readonly stateDirectory: string;
  readonly logFile: string | undefined;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error";
  /** `-u`: never the same address twice, whatever the configuration says. */
  readonly unique: boolean;
  /** In bytes, of the kernel's notifications; undefined for the monitor's own choice. */
  readonly receiveBuffer: number | undefined;
  readonly background: boolean;
  readonly help: boolean;
  readonly version: boolean;
}

export const USAGE = `Usage: mnm-controller [OPTION]...

Makes every uplink of this host usable at once. Needs no privilege; mnm-helper does the writing.

  -c, --config FILE         configuration (default /etc/mnm/mnm.yaml, which may be absent)
      --helper-socket PATH  where the helper listens (default /run/mnm-helper/helper.sock)
      --socket PATH         where to listen (default /run/mnm/controller.sock)
      --state-dir DIR       where to keep leases and state (default /var/lib/mnm)
  -l, --log FILE            log file (default: stderr, or /var/log/mnm.log with -d)
      --log-level LEVEL     trace, debug, info (default), warn or error
  -u, --unique              never the same address on two uplinks (DHCPDECLINE)
      --receive-buffer BYTES  room for the kernel's notifications (default 8 MiB, and
                            at most net.core.rmem_max); what does not fit is read again
  -d, --background          run in the background
  -h, --help                this text
      --version             the version

Signals: HUP reads the configuration again and reopens the log file; TERM and INT end the
program and leave the kernel as on_stop says (by default: as it is).
`;

const LEVELS = ["trace", "debug", "info", "warn", "error"] as const;

export function parseOptions(argv: readonly string[]): Result<ControllerOptions, string> {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        config: { type: "string", short: "c" },
        "helper-socket": { type: "string" },
        socket: { type: "string" },
        "state-dir": { type: "string" },
        log: { type: "string", short: "l" },
        "log-level": { type: "string" },
        unique: { type: "boolean", short: "u" },
        "receive-buffer": { type: "string" },
        background: { type: "boolean", short: "d" },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean" },
      },
    });
    const logLevel = LEVELS.find((level) => level === (values["log-level"] ?? "info"));
    if (logLevel === undefined) {
      return err(`--log-level ${values["log-level"]} is none of ${LEVELS.join(", ")}`);
    }
    const receiveBuffer = values["receive-buffer"];
    if (receiveBuffer !== undefined && !/^[1-9]\d{0,8}$/.test(receiveBuffer)) {
      return err(`--receive-buffer ${receiveBuffer} is no number of bytes`);
    }
    return ok({
      configFile: values.config,
      helperSocket: values["helper-socket"] ?? "/run/mnm-helper/helper.sock",
      socket: values.socket ?? "/run/mnm/controller.sock",
      stateDirectory: values["state-dir"] ?? "/var/lib/mnm",
      logFile: values.log,
      logLevel,
      unique: values.unique ?? false,
      receiveBuffer: receiveBuffer === undefined ? undefined : Number(receiveBuffer),
      background: values.background ?? false,
      help: values.help ?? false,
      version: values.version ?? false,
    });
  } catch (error) {
    return err(error instanceof Error ? error.message : String(error));
  }
}
