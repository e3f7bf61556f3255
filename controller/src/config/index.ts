export {
  type Config,
  DEFAULT_CONFIG,
  type LinkEntry,
  type LinkMatch,
  type LinkMethod,
} from "./config.js";
export { entryFor, type LinkIdentity } from "./entry-for.js";
export { parseConfig } from "./parse.js";
export { type ConfigProblem, formatProblem } from "./problem.js";
