export type { Holder, Setback } from "./backoff.js";
export { step } from "./client.js";
export { clientIdOf, type DhcpConfig } from "./codec.js";
export {
  isExpired,
  type Lease,
  type LeaseRoute,
  type LeaseTerms,
  type LeaseTimers,
} from "./lease.js";
export {
  decodeLeaseRecord,
  encodeLeaseRecord,
  isClaimedRecord,
  type LeaseRecord,
  type LeaseRecordError,
  type RecordClock,
} from "./lease-record.js";
export type { LeaseRemark } from "./options.js";
export {
  type DhcpEffect,
  type DhcpEvent,
  type DhcpState,
  deadline,
  type IgnoreReason,
  leaseOf,
  type RememberedLease,
  STOPPED,
  type Step,
  type StepContext,
} from "./state.js";
