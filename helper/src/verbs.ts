import { status } from "@grpc/grpc-js";
import type {
  ApplyRequest,
  ApplyResponse,
  ClosePacketsRequest,
  OpenPacketsRequest,
  OpenPacketsResponse,
  SendDhcpRequest,
  SendDhcpResponse,
} from "@mnm/proto/helper";
import { type ApplyContext, applyOperations, describe, resultOf } from "./apply.js";
import { checkDhcpMessage, checkPacketLink } from "./dhcp-message.js";
import { BatchFacts } from "./facts.js";
import { demand } from "./fault.js";
import type { CheckedLink } from "./operations/check.js";
import { PacketPort, type ReceivedDhcp } from "./packet-port.js";
import { type MonotonicMs, TokenBucket } from "./token-bucket.js";

/** Refuses a call as a whole; what befalls one item of it is data in the answer. */
export class CallError extends Error {
  override readonly name = "CallError";
  readonly code: status;

  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

/** What all connections share: limits too, or to connect anew would be to get round them. */
export interface VerbContext extends ApplyContext {
  readonly now: MonotonicMs;
  readonly operations: TokenBucket;
  /** DHCP messages sent, by ifindex. */
  readonly sends: Map<number, TokenBucket>;
}

export function verbContext(base: ApplyContext, now: MonotonicMs): VerbContext {
  const operations = new TokenBucket(now, { perSecond: 500, burst: 5000 });
  return { ...base, now, operations, sends: new Map() };
}

const MOST_ITEMS = 256;
/** Links whose sends are remembered; more only come about by links that come and go. */
const MOST_SENDERS = 1024;

interface OpenPort {
  readonly port: PacketPort;
  readonly counts: { received: number; dropped: number; lastDrop: string };
}

/** The verbs of one connection that said Hello, and the packet ports that it opened. */
export class Verbs {
  readonly #context: VerbContext;
  readonly #deliver: (dhcp: ReceivedDhcp) => boolean;
  readonly #ports = new Map<number, OpenPort>();

  /** @param deliver hands a reply to the peer; false when it has no room for it. */
  constructor(context: VerbContext, deliver: (dhcp: ReceivedDhcp) => boolean) {
    this.#context = context;
    this.#deliver = deliver;
  }

  apply({ operations }: ApplyRequest): ApplyResponse {
    this.#admit(operations.length);
    return { results: applyOperations(operations, this.#context) };
  }

  openPackets({ links }: OpenPacketsRequest): OpenPacketsResponse {
    return this.#forEach("openPackets", links, (link, context) =>
      this.#open(checkPacketLink(link, context)),
    );
  }

  closePackets({ ifindexes }: ClosePacketsRequest): Record<string, never> {
    for (const ifindex of ifindexes) this.#close(ifindex);
    return {};
  }

  sendDhcp({ messages }: SendDhcpRequest): SendDhcpResponse {
    return this.#forEach("sendDhcp", messages, (message, context) => {
      const checked = checkDhcpMessage(message, context);
      const { ifindex } = checked.link;
      const port = this.#ports.get(ifindex)?.port;
      demand(port !== undefined, "not-permitted", "link", "one with an open packet port");
      const isSlow = this.#sendsOf(ifindex).take();
      demand(isSlow, "not-permitted", "link", "below 5 messages a second (10 at once)");
      port.send(checked);
    });
  }

  /** Closes all ports. */
  close(): void {
    for (const ifindex of this.#ports.keys()) this.#close(ifindex);
  }

  #forEach<T>(
    verb: string,
    items: readonly T[],
    run: (item: T, context: ApplyContext & { readonly facts: BatchFacts }) => void,
  ) {
    this.#admit(items.length);
    const context = { ...this.#context, facts: new BatchFacts(this.#context.socket) };
    const runOne = (item: T) =>
      resultOf(`${verb} ${describe(item)}`, context.log, () => run(item, context));
    return { results: items.map(runOne) };
  }

  #admit(count: number): void {
    if (count < 1 || count > MOST_ITEMS) {
      throw new CallError(status.INVALID_ARGUMENT, `${count} items are not 1 to ${MOST_ITEMS}`);
    }
    if (this.#context.operations.take(count)) return;
    throw new CallError(status.RESOURCE_EXHAUSTED, "More than 500 operations a second");
  }

  #open(link: CheckedLink): void {
    if (this.#ports.get(link.ifindex)?.port.isBound()) return;
    // It may be of a link that is gone, and whose ifindex is this one's now.
    this.#close(link.ifindex);
    const counts = { received: 0, dropped: 0, lastDrop: "" };
    const dropped = (reason: string): void => {
      counts.dropped++;
      counts.lastDrop = reason;
    };
    const replies = new TokenBucket(this.#context.now, { perSecond: 50, burst: 50 });
    const received = (dhcp: ReceivedDhcp): void => {
      if (!replies.take()) dropped("too many a second");
      else if (!this.#deliver(dhcp)) dropped("nobody reads the stream");
      else counts.received++;
    };
    this.#ports.set(link.ifindex, { port: new PacketPort(link, { received, dropped }), counts });
  }

  #close(ifindex: number): void {
    const open = this.#ports.get(ifindex);
    if (open === undefined) return;
    open.port.close();
    this.#ports.delete(ifindex);
    // Only here, since a line for each packet would let strangers fill the log.
    this.#context.log.info("Packet port closed", { ifindex, ...open.counts });
  }

  #sendsOf(ifindex: number): TokenBucket {
    const { sends, now } = this.#context;
    const bucket = sends.get(ifindex) ?? new TokenBucket(now, { perSecond: 5, burst: 10 });
    const [oldest] = sends.keys();
    if (oldest !== undefined && sends.size >= MOST_SENDERS) sends.delete(oldest);
    sends.set(ifindex, bucket);
    return bucket;
  }
}
