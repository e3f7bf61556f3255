import { formatIpv4, type Instant, type Ipv4, type PrefixLength } from "@mnm/proto/net";
import type { EventKind, EventLink, EventReason } from "../events/index.js";
import type { EngineEffect, LogEntry } from "./messages.js";

/** What an event says beside its kind. */
export interface EventDetails {
  readonly reason: EventReason;
  readonly link?: EventLink | undefined;
  readonly before?: string;
  readonly after?: string;
  readonly text: string;
}

/** Collects the effects of one step, and holds the time of it. */
export class Outbox {
  readonly now: Instant;
  readonly effects: EngineEffect[] = [];

  constructor(now: Instant) {
    this.now = now;
  }

  push(effect: EngineEffect): void {
    this.effects.push(effect);
  }

  /** Tells subscribers, and the log: what they hear, an operator may want to read a week later. */
  emit(kind: EventKind, { reason, link, before = "", after = "", text }: EventDetails): void {
    this.push({ kind: "emit", event: { kind, reason, link, before, after, text } });
    const fields = {
      event: kind,
      ...(link === undefined ? {} : { link: link.name, ifindex: link.ifindex }),
    };
    this.log("info", text, fields);
  }

  log(
    level: LogEntry["level"],
    message: string,
    fields: Readonly<Record<string, unknown>> = {},
  ): void {
    this.push({ kind: "log", entry: { level, message, fields } });
  }
}

export function formatInterface(address: Ipv4, length: PrefixLength): string {
  return `${formatIpv4(address)}/${length}`;
}
