export { Journal } from "./journal.js";
export { LiveQueue, type QueueLimits } from "./live-queue.js";
export type {
  EventKind,
  EventLink,
  EventReason,
  JournalEntry,
  NetworkEvent,
} from "./network-event.js";
