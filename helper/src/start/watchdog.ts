import { openSocket, send } from "../sys.js";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;

/**
 * Tells systemd at half of its patience (WatchdogSec= in the unit) that this process turns, or it is
 * started anew: a helper that hangs would not serve again by itself. sd_notify(3),
 * sd_watchdog_enabled(3). Does nothing, and wakes nobody, where there is no watchdog.
 */
export function feedWatchdog(environment: NodeJS.ProcessEnv, pid: number): void {
  const { NOTIFY_SOCKET: path = "", WATCHDOG_USEC: usec, WATCHDOG_PID: watched } = environment;
  const everyMs = Number(usec) / 2000;
  // An abstract address, of a test's or container's manager, begins with @ for NUL.
  if (!/^[/@]/.test(path) || watched !== String(pid) || !(everyMs >= 1)) return;
  const socket = openSocket(AF_UNIX, SOCK_DGRAM, 0);
  const address = Buffer.from(`\u0001\0${path.replace(/^@/, "\0")}`);
  setInterval(() => {
    try {
      send(socket, Buffer.from("WATCHDOG=1"), address);
    } catch {
      // The manager has more to read than it can hold. The next one is still in time.
    }
  }, everyMs);
}
