import type { GivenUpLease } from "@mnm/proto/network-manager";
import type { Line } from "./page.js";

/** What `mnmctl release` says: what became of the lease, and how to undo it. */
export function releasedPage(link: string, lease: GivenUpLease | undefined): readonly Line[] {
  const what = lease === undefined ? "there was no lease to give back" : sentenceOf(lease);
  return [[`${link}: ${what}`], [`it stays released; ${undoing(link)}`]];
}

/** What `mnmctl reconnect` says. */
export function reconnectingPage(link: string, lease: GivenUpLease | undefined): readonly Line[] {
  const before = lease === undefined ? "" : `${sentenceOf(lease)}; `;
  return [[`${link}: ${before}asking for a new lease; mnmctl events shows how it ends`]];
}

/** `mnmctl reconnect LINK brings it back`. */
export function undoing(link: string): string {
  return `mnmctl reconnect ${link} brings it back`;
}

function sentenceOf({ address, server, serverTold }: GivenUpLease): string {
  return serverTold
    ? `gave ${address} back to ${server}`
    : `gave ${address} up, but could not tell ${server}, where it stays taken until its lease ends`;
}
