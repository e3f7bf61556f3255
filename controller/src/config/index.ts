export {
  type Config,
  type ConflictDetection,
  DEFAULT_CONFIG,
  type LinkEntry,
  type LinkMatch,
  type LinkMethod,
  PLAIN_DHCP,
} from "./config.js";
export { entryFor, type LinkIdentity } from "./entry-for.js";
export { parseConfig } from "./parse.js";
export { type ConfigProblem, formatProblem } from "./problem.js";
