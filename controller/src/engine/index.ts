export type { Episode } from "./contention.js";
export { adviceAbout, type Culprit, NETWORK_MANAGERS, nameOfCulprit } from "./culprit.js";
export type { EngineEnvironment } from "./dhcp-driver.js";
export { Engine, type EngineStart } from "./engine.js";
export type {
  EngineEffect,
  EngineEvent,
  EngineReply,
  EngineRequest,
  GroupedOperation,
  LegacyEvent,
  LogEntry,
  OperationOutcome,
  PortOutcome,
  Refusal,
  RequestFault,
} from "./messages.js";
export type { Contended, HelperStatus, HostStatus, LinkStatus, ManagedStatus } from "./status.js";
