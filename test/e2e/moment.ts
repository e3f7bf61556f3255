import assert from "node:assert/strict";
import type { DhcpPacket } from "../lab/index.js";

/**
 * When something happened that the wire shows only roughly. A lease counts from the moment at which
 * its request was decided: after the packet that called for it, before the packet itself.
 */
export interface Moment {
  readonly earliest: number;
  readonly latest: number;
}

/** How much later than due a packet may be: these machines are noisy. It may never be early. */
const LATE_MS = 3000;
/** Rounding, and a wall clock that is being slewed. */
const EARLY_MS = 20;

/** Asserts that a packet came `sec` seconds after the moment; gives the moment of its own. */
export function assertDue(packet: DhcpPacket, since: Moment, sec: number): Moment {
  const earliest = since.earliest + sec * 1000;
  const early = earliest - packet.at;
  assert.ok(early <= EARLY_MS, `${packet.kind} was sent ${early} ms before ${sec} s had passed`);
  const late = packet.at - since.latest - sec * 1000;
  assert.ok(late <= LATE_MS, `${packet.kind} was sent ${late} ms later than ${sec} s`);
  return { earliest, latest: packet.at };
}
