import { formatIpv4, type Instant } from "@mnm/proto/net";
import type { Holder, Setback } from "../dhcp4/index.js";
import type { ManagedLink } from "./managed-link.js";

/** Why a link waits before it asks for a lease again. */
export interface WaitStatus {
  /** `nak`: refused by a server. The others are addresses that we declined. */
  readonly cause: "nak" | "unique" | "conflict" | "unusable";
  readonly address: string;
  /** The server (`nak`, `unusable`), the link (`unique`) or the MAC (`conflict`) that it is due to. */
  readonly by: string;
  readonly retryAt: Instant;
  /** Long enough for people to wonder. */
  readonly isLong: boolean;
}

const LONG_MS = 10_000;

/** Undefined while the link's DHCP machine does not wait. */
export function waitOf({ dhcp }: ManagedLink): WaitStatus | undefined {
  const { naks, last } = dhcp.setbacks;
  if (dhcp.kind !== "init" || last === undefined) return undefined;
  const isLong = last.kind !== "nak" || naks.delayMs > LONG_MS;
  const address = formatIpv4(last.address);
  return { cause: causeOf(last), address, by: culpritOf(last), retryAt: dhcp.retryAt, isLong };
}

function causeOf(setback: Setback): WaitStatus["cause"] {
  if (setback.kind !== "taken") return setback.kind;
  return setback.holder.kind === "link" ? "unique" : "conflict";
}

function culpritOf(setback: Setback): string {
  return setback.kind === "taken" ? nameOfHolder(setback.holder) : formatIpv4(setback.server);
}

export function nameOfHolder(holder: Holder): string {
  return holder.kind === "link" ? holder.name : holder.mac;
}

/** A warning in the words of `mnmctl status`. */
export function warningOfWait(wait: WaitStatus, link: string, now: Instant): string {
  const sec = Math.max(0, Math.ceil((wait.retryAt - now) / 1000));
  const time = sec < 120 ? `${sec} s` : `${Math.round(sec / 60)} min`;
  return `${sentenceOf(wait)}; asks again in ${time} (mnmctl reconnect ${link} asks now)`;
}

function sentenceOf({ cause, address, by }: WaitStatus): string {
  switch (cause) {
    case "nak":
      return `${by} refused ${address} (NAK)`;
    case "unique":
      return `declined ${address}, which ${by} has (unique)`;
    case "conflict":
      return `declined ${address}, which ${by} uses`;
    case "unusable":
      return `declined ${address}, as the terms of ${by} cannot be used`;
  }
}
