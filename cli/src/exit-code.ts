/** What mnmctl's exit status says; scripts depend on the numbers. */
export const ExitCode = {
  /** Done. */
  done: 0,
  /** Refused or failed. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The controller is not reachable. */
  unreachable: 3,
  /** `status`: no link is usable. `wait-online`: not in time. */
  noUplink: 4,
  /** `status`: another program keeps changing what is MNM's. */
  contended: 6,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];
