export {
  assignMetrics,
  MAX_METRIC,
  type Metric,
  type MetricClaim,
  type MetricSource,
  MIN_METRIC,
} from "./metrics.js";
export { type Intent, identityOf, intentOf } from "./selection.js";
export { freeSlot, isUplinkTable, TABLE_BASE } from "./slots.js";
export {
  decodeState,
  EMPTY_STATE,
  encodeState,
  type IdentityRecord,
  type PersistentState,
  type SettingsRecord,
} from "./state.js";
export {
  type Addressing,
  addressingOfAdopted,
  addressingOfLease,
  addressingOfStatic,
  type Uplink,
} from "./uplink.js";
