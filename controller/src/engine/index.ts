export type { EngineEnvironment } from "./dhcp-driver.js";
export { Engine, type EngineStart } from "./engine.js";
export type {
  EngineEffect,
  EngineEvent,
  EngineReply,
  EngineRequest,
  GroupedOperation,
  LogEntry,
  OperationOutcome,
  PortOutcome,
  Refusal,
  RequestFault,
} from "./messages.js";
export type { HelperStatus, HostStatus, LinkStatus, ManagedStatus } from "./status.js";
