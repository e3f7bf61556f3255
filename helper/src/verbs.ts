import { status } from "@grpc/grpc-js";
import type * as pb from "@mnm/proto/helper";
import { LinkLimit, type MonotonicMs, readUdpPacket, TokenBucket } from "@mnm/proto/net";
import { type ApplyContext, applyOperations, describe, resultOf } from "./apply.js";
import { checkArpMessage, checkArpWatch, sendArpMessage } from "./arp-message.js";
import { CallError } from "./call-error.js";
import { checkDhcpMessage, checkPacketLink, sendDhcpMessage } from "./dhcp-message.js";
import { KernelFacts } from "./facts.js";
import { demand } from "./fault.js";
import { arpFilter, DHCP_FILTER } from "./filters.js";
import { sendLegacyEvent } from "./legacy-event.js";
import { log } from "./log.js";
import type { OperationContext } from "./operations/check.js";
import { PacketPort, type PortOptions, type Take } from "./packet-port.js";
import { PacketStream } from "./packet-stream.js";
import { purgeOwned } from "./purge.js";
import { ETH_P } from "./send-packet.js";

interface VerbContext extends ApplyContext {
  readonly limits: ReturnType<typeof limitsFrom>;
}

/** What all connections share: limits too, or to connect anew would be to get round them. */
export type SharedContext = Omit<VerbContext, "peer">;

export function limitsFrom(now: MonotonicMs) {
  return {
    operations: new TokenBucket(now, { perSecond: 500, burst: 5000 }),
    // Each link has its own limit beside; this one is for what is refused by it.
    packets: new TokenBucket(now, { perSecond: 2000, burst: 10_000 }),
    dhcpOut: new LinkLimit(now, { perSecond: 5, burst: 10 }),
    dhcpIn: new LinkLimit(now, { perSecond: 50, burst: 50 }),
    arpOut: new LinkLimit(now, { perSecond: 2, burst: 6 }),
    arpIn: new LinkLimit(now, { perSecond: 50, burst: 50 }),
  };
}

const MOST_ITEMS = 256;

type RunItem<Item> = (item: Item, context: OperationContext) => void;

/** The verbs of one connection that said Hello, and the packet ports that it opened. */
export class Verbs {
  readonly dhcp: PacketStream<pb.ReceiveDhcpResponse>;
  readonly arp: PacketStream<pb.ReceiveArpResponse>;
  readonly #context: VerbContext;
  readonly #ports = { dhcp: new Map<number, PacketPort>(), arp: new Map<number, PacketPort>() };

  constructor(context: VerbContext) {
    this.#context = context;
    this.dhcp = new PacketStream(context.limits.dhcpIn);
    this.arp = new PacketStream(context.limits.arpIn);
  }

  apply({ operations }: pb.ApplyRequest): pb.ApplyResponse {
    this.#admit(operations.length, "operations");
    return { results: applyOperations(operations, this.#context) };
  }

  purgeOwned(): pb.PurgeOwnedResponse {
    // It cannot be known before how many it will be.
    this.#admit(MOST_ITEMS, "operations");
    return purgeOwned(this.#context);
  }

  openPackets({ links }: pb.OpenPacketsRequest): pb.OpenPacketsResponse {
    return this.#forEach("openPackets", links, (ref, context) => {
      const { ifindex } = checkPacketLink(ref, context);
      const port = { ifindex, protocol: ETH_P.IP, filter: DHCP_FILTER };
      this.#open("dhcp", port, (packet, isSummed, dropped) => {
        const read = readUdpPacket(packet, isSummed);
        const { payload, source } = read.ok ? read.value : { payload: [], source: 0 };
        const problem = read.ok ? "" : read.error.code;
        const item = { ifindex, payload: Buffer.from(payload), source, problem, dropped };
        return this.dhcp.write(item);
      });
    });
  }

  watchArp({ watches }: pb.WatchArpRequest): pb.WatchArpResponse {
    return this.#forEach("watchArp", watches, (watch, context) => {
      const { link, addresses } = checkArpWatch(watch, context);
      const { ifindex } = link;
      if (addresses.length === 0) return this.#close("arp", ifindex);
      const port = { ifindex, protocol: ETH_P.ARP, filter: arpFilter(addresses) };
      this.#open("arp", port, (packet, _, dropped) => this.arp.write({ ifindex, packet, dropped }));
    });
  }

  /** Ends the ARP watches of these links as well. */
  closePackets({ ifindexes }: pb.ClosePacketsRequest): pb.ClosePacketsResponse {
    for (const ifindex of ifindexes) {
      this.#close("dhcp", ifindex);
      this.#close("arp", ifindex);
    }
    return {};
  }

  sendDhcp({ messages }: pb.SendDhcpRequest): pb.SendDhcpResponse {
    return this.#forEach("sendDhcp", messages, (message, context) => {
      const checked = checkDhcpMessage(message, context);
      const { ifindex } = checked.link;
      const isOpen = this.#ports.dhcp.has(ifindex);
      demand(isOpen, "not-permitted", "link", "one with an open packet port");
      const isInTime = this.#context.limits.dhcpOut.take(ifindex);
      demand(isInTime, "not-permitted", "link", "below 5 messages a second (10 at once)");
      sendDhcpMessage(checked);
    });
  }

  sendArp({ messages }: pb.SendArpRequest): pb.SendArpResponse {
    return this.#forEach("sendArp", messages, (message, context) => {
      const checked = checkArpMessage(message, context);
      const isInTime = this.#context.limits.arpOut.take(checked.link.ifindex);
      demand(isInTime, "not-permitted", "link", "below 2 messages a second (6 at once)");
      sendArpMessage(checked);
    });
  }

  broadcastLegacyEvent(request: pb.BroadcastLegacyEventRequest): pb.BroadcastLegacyEventResponse {
    return this.#forEach("broadcastLegacyEvent", request.events, (event, { allow }) =>
      sendLegacyEvent(event, allow),
    );
  }

  /** Closes all ports. */
  close(): void {
    this.closePackets({ ifindexes: Object.values(this.#ports).flatMap((of) => [...of.keys()]) });
  }

  #forEach<Item>(verb: string, items: readonly Item[], run: RunItem<Item>) {
    this.#admit(items.length, "packets");
    const context = { ...this.#context, facts: new KernelFacts(this.#context.socket) };
    const runOne = (item: Item) =>
      resultOf(`${verb} ${describe(item)}`, context.peer, () => run(item, context));
    return { results: items.map(runOne) };
  }

  #admit(count: number, kind: "operations" | "packets"): void {
    if (count < 1 || count > MOST_ITEMS) {
      throw new CallError(status.INVALID_ARGUMENT, `${count} items are not 1 to ${MOST_ITEMS}`);
    }
    if (this.#context.limits[kind].take(count)) return;
    throw new CallError(status.RESOURCE_EXHAUSTED, `Too many ${kind} a second`);
  }

  #open(kind: "dhcp" | "arp", options: PortOptions, take: Take): void {
    const ports = this.#ports[kind];
    const old = ports.get(options.ifindex);
    if (old?.serves(options) === true) return;
    const port = new PacketPort(options, take);
    // Both receive now: nothing is missed, and what came to both is taken once. But the old one
    // may be of a link that is gone, and whose ifindex is this one's now.
    if (old?.isBound() === true) port.drain(old.drain());
    this.#close(kind, options.ifindex);
    ports.set(options.ifindex, port);
  }

  #close(kind: "dhcp" | "arp", ifindex: number): void {
    const port = this.#ports[kind].get(ifindex);
    if (port === undefined) return;
    port.close();
    this.#ports[kind].delete(ifindex);
    // Only here, since a line for each packet would let strangers fill the log.
    log.info("Packet port closed", { ifindex, kind, ...port.counts });
  }
}
