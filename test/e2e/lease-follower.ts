import assert from "node:assert/strict";
import type { EventKind } from "@mnm/proto/network-manager";
import { type Capture, type DhcpPacket, until } from "../lab/index.js";
import { kernelText, ours } from "./kernel-text.js";
import type { Moment } from "./moment.js";
import type { Scenario } from "./scenario.js";
import type { ServerSite } from "./server-site.js";

/** The lines of `Capture.since` that a client writes, in the words of RFC 2131 table 5. */
export const asked = {
  discover: (wanted?: string) =>
    `discover 0.0.0.0 > 255.255.255.255${wanted === undefined ? "" : ` requested ${wanted}`}`,
  request: (address: string, server: string) =>
    `request 0.0.0.0 > 255.255.255.255 requested ${address} server ${server}`,
  reboot: (address: string) => `request 0.0.0.0 > 255.255.255.255 requested ${address}`,
  renew: (address: string, server: string) => `request ${address} > ${server} ciaddr ${address}`,
  rebind: (address: string) => `request ${address} > 255.255.255.255 ciaddr ${address}`,
  release: (address: string, server: string) =>
    `release ${address} > ${server} ciaddr ${address} server ${server}`,
} as const;

/** A line, or several of which any will do. */
export type Expected = string | readonly string[];

function assertSequence(capture: Capture, mark: number, expected: readonly Expected[]): void {
  const lines = capture.since(mark);
  const fits =
    lines.length === expected.length &&
    lines.every((line, index) => [expected[index]].flat().includes(line));
  // The comparison shows what differs; where any of several lines will do, it shows the first.
  if (!fits) {
    const wanted = expected.map((line) => [line].flat()[0]);
    assert.deepEqual(lines, wanted, capture.timeline(mark));
  }
}

/** The answers of a site's server, as they look on the uplink's segment. */
export function answersOf({ plan, gateway, serverId }: ServerSite) {
  const relayed = plan.behindRelay ? ` giaddr ${gateway}` : "";
  const granted = (kind: "offer" | "ack", from: string, address: string) =>
    `${kind} ${from} > ${address} yiaddr ${address}`;
  return {
    offer: (address: string) =>
      `${granted("offer", gateway, address)}${relayed} server ${serverId}`,
    ack: (address: string) => `${granted("ack", gateway, address)}${relayed} server ${serverId}`,
    /** To a unicast request: from the server itself, and from a relay that has overheard it. */
    ackOfRenewal: (address: string): Expected => [
      `${granted("ack", serverId, address)} server ${serverId}`,
      `${granted("ack", gateway, address)}${relayed} server ${serverId}`,
    ],
    /** Kea sends it to the address that it refuses. */
    nak: (address: string): Expected =>
      ["255.255.255.255", address].map(
        (to) => `nak ${gateway} > ${to}${relayed} server ${serverId}`,
      ),
  };
}

export const isKind =
  (wanted: DhcpPacket["kind"]) =>
  ({ kind }: DhcpPacket): boolean =>
    kind === wanted;

export const isBroadcast = ({ destination }: DhcpPacket): boolean =>
  destination === "255.255.255.255";

/** The client renews no lease sooner, whatever T1 says. */
const LEAST_T1_SEC = 10;

/** A site's client as the test follows it. */
export class Follower {
  readonly site: ServerSite;
  readonly scenario: Scenario;
  /** Of the last ACK. */
  address = "";
  t1Sec = 0;
  t2Sec = 0;
  leaseSec = 0;
  /** When the request was sent that it answered. */
  since: Moment = { earliest: 0, latest: 0 };
  /** After the last message that was looked at. */
  mark = 0;

  constructor(scenario: Scenario, site: ServerSite) {
    this.scenario = scenario;
    this.site = site;
  }

  next(what: string, fits: (packet: DhcpPacket) => boolean, withinSec = 0): Promise<DhcpPacket> {
    return this.site.capture.next(this.mark, fits, { what, withinMs: withinSec * 1000 });
  }

  /** Waits for a new lease, and takes what the server says of it. */
  async bound(withinSec = 0): Promise<void> {
    const ack = await this.next("ack of a new lease", isKind("ack"), withinSec);
    const exchange = this.site.capture.packets
      .slice(this.mark)
      .filter(({ xid }) => xid === ack.xid);
    const offer = exchange.find(({ kind }) => kind === "offer");
    const request = exchange.find(({ kind }) => kind === "request");
    assert.ok(offer !== undefined && request !== undefined);
    this.take(ack, { earliest: offer.at, latest: request.at });
  }

  take(ack: DhcpPacket, since: Moment): void {
    const { yiaddr, t1Sec = 0, t2Sec = 0, leaseSec = 0 } = ack;
    this.address = yiaddr;
    this.t1Sec = Math.max(t1Sec, LEAST_T1_SEC);
    this.t2Sec = t2Sec;
    this.leaseSec = leaseSec;
    this.since = since;
    assert.ok(0 < this.t1Sec && this.t1Sec < t2Sec && t2Sec < leaseSec);
  }

  /** Everything since the last mark, which then moves behind it. */
  assertSequence(expected: readonly Expected[]): void {
    assertSequence(this.site.capture, this.mark, expected);
    this.mark = this.site.capture.mark;
  }

  /** The kernel holds nothing of an address or prefix any more. */
  async gone(text: string): Promise<void> {
    const left = async () =>
      (await ours(this.scenario.lab.host)).filter((line) => line.includes(text));
    const isGone = async () => (await left()).length === 0;
    await until(isGone, { timeoutMs: 3000, what: `nothing of ${text} in the kernel` });
  }

  /** The server's lease database no longer has the address as ours. */
  async freed(): Promise<void> {
    const { server, mac } = this.site;
    const isFree = () => !server.leased(mac).includes(this.address);
    const what = `${this.address} to be free in the database of ${server.kind}`;
    await until(isFree, { timeoutMs: 10_000, what });
  }

  /** The address is on the link, and what leaves from it goes by this link's ISP. */
  async works(prefixLength = 24): Promise<void> {
    const { lab } = this.scenario;
    const works = async () =>
      (await lab.whoami({ address: this.address })) === this.site.plan.index;
    await until(works, { timeoutMs: 10_000, what: `traffic from ${this.address}` });
    const { addresses } = await kernelText(lab.host);
    const held = addresses.filter((line) => line.startsWith(`${this.site.link} `));
    assert.equal(held.length, 1, held.join("\n"));
    assert.ok(held[0]?.includes(`inet ${this.address}/${prefixLength} `), held[0]);
  }

  event(kind: EventKind, skip: number) {
    return this.scenario.log.event(kind, this.site.link, skip);
  }
}
