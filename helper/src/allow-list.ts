/** What this helper may touch, from helper.json. Read once, never changed. */
export interface AllowList {
  /** Patterns of link names; `*` stands for any characters. */
  readonly links: readonly string[];
  /** First and last of the routing tables. */
  readonly tables: readonly [number, number];
  /** Default routes in main: whether at all, and the metrics that they may have. */
  readonly mainDefault: { readonly allow: boolean; readonly metrics: readonly [number, number] };
  /** What rules at 9600 to 9899 may select by: users, marks, names of incoming links. */
  readonly selectors: {
    readonly uids: readonly number[];
    readonly fwmarks: readonly number[];
    readonly iifs: readonly string[];
  };
  /** Whether MULTI's subscribers may be told of links that come and go. */
  readonly legacyBroadcast: boolean;
}

export const MAIN_TABLE = 254;

/** Mark of every object of ours: rtm_protocol, FRA_PROTOCOL, IFA_PROTO. */
export const MNM_PROTOCOL: number = 77;

/** Whether a link of that name may be touched. `lo` never is, whatever the patterns say. */
export function isAllowedName({ links }: AllowList, name: string): boolean {
  return name !== "lo" && links.some((pattern) => matches(pattern, name));
}

// Names have at most 15 characters, as patterns have, so that trying every end is no matter.
function matches(pattern: string, name: string): boolean {
  if (pattern === "") return name === "";
  if (pattern[0] !== "*") return pattern[0] === name[0] && matches(pattern.slice(1), name.slice(1));
  // Several stars in a row mean no more than one, and would be tried again and again.
  const rest = pattern.replace(/^\*+/, "");
  return Array.from(`${name}.`).some((_, at) => matches(rest, name.slice(at)));
}
