export {
  deadline,
  type GuardContext,
  type GuardStep,
  gatewayAsked,
  mayUse,
  step,
} from "./guard.js";
export {
  type ArpMessage,
  type ArpPacket,
  type ArpPacketError,
  decodeArp,
} from "./packet.js";
export {
  type GuardEffect,
  type GuardEvent,
  type GuardState,
  UNGUARDED,
} from "./state.js";
