/** The world as mnmctl sees it; tests give their own. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether standard output is a terminal. */
  readonly isTerminal: boolean;
  /** Writes to standard output. */
  out(text: string): void;
  /** Writes to standard error. */
  err(text: string): void;
  /** Asked for by commands that go on until Ctrl-C; the others just die of it. */
  interruption(): AbortSignal;
}

/** What every command is told besides its own words. */
export interface Session {
  readonly io: Io;
  /** The path of the controller's socket. */
  readonly socket: string;
  readonly json: boolean;
  readonly useColor: boolean;
}

/** Waits, but not longer than until the signal. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    signal.addEventListener("abort", finish);
    if (signal.aborted) finish();
  });
}
