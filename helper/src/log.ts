import { writeSync } from "node:fs";

type Fields = Readonly<Record<string, string | number | readonly string[] | undefined>>;

/**
 * Writes JSON lines to stderr. Not pino, which the controller uses: this program holds
 * capabilities, and every package in it is one more that must be trusted with them.
 */
export const log = {
  /** What an operator wants to find a week later; every operation that was carried out. */
  info: line("info"),
  /** Refused, or degraded but handled. */
  warn: line("warn"),
};

function line(level: string) {
  return (msg: string, fields: Fields = {}): void => {
    const text = JSON.stringify({ time: new Date().toISOString(), level, msg, ...fields });
    try {
      writeSync(2, `${text}\n`);
    } catch {
      // Its reader is gone or too slow. To stop would hand the peer a way to stop us.
    }
  };
}
