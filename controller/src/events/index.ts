export { Journal } from "./journal.js";
export type {
  EventKind,
  EventLink,
  EventReason,
  JournalEntry,
  NetworkEvent,
} from "./network-event.js";
