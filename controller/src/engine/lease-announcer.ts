import { formatIpv4 } from "@mnm/proto/net";
import {
  type DhcpEffect,
  type DhcpState,
  type LeaseRemark,
  leaseOf,
  type Step,
} from "../dhcp4/index.js";
import type { ManagedLink } from "./managed-link.js";
import { formatInterface, type Outbox } from "./outbox.js";
import { nameOfHolder } from "./setback.js";

type LeaseNews = Exclude<DhcpEffect, { kind: "send" | "reply-ignored" | "remembered-refused" }>;

/**
 * Counts a reply that was not ignored as what it was, and tells of a refusal: a row of them once, or a
 * server that refuses everything would be heard of for ever.
 */
export function noteReply(
  managed: ManagedLink,
  { before, state, effects }: Step & { readonly before: DhcpState },
  outbox: Outbox,
): void {
  if (effects.some(({ kind }) => kind === "reply-ignored")) return;
  const { naks, last } = state.setbacks;
  if (naks === before.setbacks.naks || last?.kind !== "nak") {
    managed.count(state.kind === "requesting" ? "received-offer" : "received-ack");
    return;
  }
  managed.count("received-nak");
  const server = formatIpv4(last.server);
  const address = formatIpv4(last.address);
  outbox.log("debug", "NAK", { link: managed.name, server, address });
  // That a lease in force is lost is told with the lease.
  if (naks.length > 1 || leaseOf(before) !== undefined) return;
  outbox.emit("lease-refused", {
    reason: "lease",
    link: managed.eventLink,
    text: `server ${server} refused ${address}`,
  });
}

/** Logs what of a lease was not taken as it was sent, unless it was the same the last time. */
export function noteRemarks(
  managed: ManagedLink,
  remarks: readonly LeaseRemark[],
  outbox: Outbox,
): void {
  const told = JSON.stringify(remarks);
  if (managed.remarked === told) return;
  managed.remarked = told;
  const link = managed.name;
  for (const { option, problem } of remarks) {
    if (problem === "missing") {
      outbox.log("warn", "The lease has no netmask; that of its class is used", { link });
    } else outbox.log("warn", "Option of the lease left out", { link, option, problem });
  }
}

/** Tells subscribers what became of a lease. */
export function announceLease(managed: ManagedLink, news: LeaseNews, outbox: Outbox): void {
  const { terms } = news.lease;
  const address = formatInterface(terms.address, terms.prefixLength);
  const server = formatIpv4(terms.serverId);
  const base = { reason: "lease", link: managed.eventLink } as const;
  switch (news.kind) {
    case "lease-bound":
      outbox.emit("lease-bound", {
        ...base,
        after: address,
        text: `lease of ${address} from ${server}`,
      });
      return;
    case "lease-renewed": {
      const before = formatInterface(news.before.terms.address, news.before.terms.prefixLength);
      const change = before === address ? address : `${before} became ${address}`;
      outbox.emit("lease-renewed", {
        ...base,
        before,
        after: address,
        text: `lease renewed: ${change}`,
      });
      return;
    }
    case "lease-rebinding":
      outbox.emit("lease-rebinding", {
        ...base,
        before: address,
        after: address,
        text: `server ${server} does not answer; asking any server to extend ${address}`,
      });
      return;
    case "lease-lost":
      announceLoss(managed, news, address, outbox);
      return;
  }
}

function announceLoss(
  managed: ManagedLink,
  { reason }: Extract<DhcpEffect, { kind: "lease-lost" }>,
  address: string,
  outbox: Outbox,
): void {
  const base = { link: managed.eventLink, before: address } as const;
  const { last } = managed.dhcp.setbacks;
  switch (reason) {
    case "expired":
      outbox.emit("lease-expired", {
        ...base,
        reason: "lease",
        text: `lease of ${address} expired`,
      });
      return;
    case "unconfirmed":
      outbox.emit("lease-expired", {
        ...base,
        reason: "lease",
        text: `nobody confirmed the lease of ${address} after carrier came back or the host resumed`,
      });
      return;
    case "refused":
      outbox.emit("lease-refused", {
        ...base,
        reason: "lease",
        text: `server ${last?.kind === "nak" ? `${formatIpv4(last.server)} ` : ""}refused the lease of ${address}`,
      });
      return;
    case "declined":
      outbox.emit("lease-declined", {
        ...base,
        reason: "collision",
        text: `declined ${address}: ${last?.kind === "taken" ? nameOfHolder(last.holder) : "somebody"} has it`,
      });
      return;
    case "released":
    case "stopped":
      outbox.log("info", "lease set aside", { link: managed.name, address, reason });
      return;
  }
}
