import { type Event, EventKind } from "@mnm/proto/network-manager";
import { formatWallTime } from "./duration.js";
import type { Line, Span, Style } from "./page.js";
import { eventKindWord, reasonWord, spoken } from "./words.js";

const STYLES: ReadonlyMap<EventKind, Style> = new Map([
  [EventKind.UPLINK_USABLE, "good"],
  [EventKind.UPLINK_UNUSABLE, "bad"],
  [EventKind.DEFAULT_CHANGED, "strong"],
  [EventKind.LEASE_EXPIRED, "warn"],
  [EventKind.LEASE_REFUSED, "warn"],
  [EventKind.LEASE_DECLINED, "warn"],
  [EventKind.CONFLICT, "warn"],
  [EventKind.EXTERNAL_CHANGE, "warn"],
  [EventKind.CONTENDED, "bad"],
  [EventKind.UNCONTENDED, "good"],
  [EventKind.CONFIG_REJECTED, "bad"],
  [EventKind.FAULT, "bad"],
]);

/** One event on one line: when, its number, its link, what happened. */
export function eventLine(event: Event, today: Date): Line {
  const text = event.text === "" ? sentenceOf(event) : event.text;
  const style = STYLES.get(event.kind);
  const what: Span = style === undefined ? text : { text, style };
  const number = `#${event.sequence}`.padEnd(6);
  const link = (event.link?.name ?? "-").padEnd(8);
  return [formatWallTime(event.wallMs, today), "  ", number, "  ", link, "  ", what];
}

/** The sentence of an event that has none. */
function sentenceOf({ kind, reason, before, after }: Event): string {
  const change = [before, after].filter((text) => text !== "").join(" -> ");
  const why = reason === 0 ? "" : ` (${spoken(reasonWord(reason))})`;
  return `${spoken(eventKindWord(kind))}${change === "" ? "" : `: ${change}`}${why}`;
}
