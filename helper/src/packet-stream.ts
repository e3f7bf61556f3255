import { Metadata, type ServerWritableStream, status } from "@grpc/grpc-js";
import type { LinkLimit } from "@mnm/proto/net";
import { CallError } from "./call-error.js";

/** Packets that wait for a slow peer. */
const MOST_QUEUED = 256;

/** The stream of one kind of packets to the peer, of which a connection has one at most. */
export class PacketStream<Packet extends { readonly ifindex: number }> {
  readonly #limit: LinkLimit;
  #call: ServerWritableStream<unknown, Packet> | undefined;

  constructor(limit: LinkLimit) {
    this.#limit = limit;
  }

  /** Throws CallError when there is one. */
  open(call: ServerWritableStream<unknown, Packet>): void {
    const second = "This connection has its stream already";
    if (this.#call !== undefined) throw new CallError(status.ALREADY_EXISTS, second);
    this.#call = call;
    call.on("cancelled", () => {
      this.#call = undefined;
    });
    // At once, so that the caller knows that it misses nothing from now on.
    call.sendMetadata(new Metadata());
  }

  /** Tells the peer why nothing more comes. */
  end(reason: CallError): void {
    this.#call?.emit("error", reason);
  }

  /** Says why the packet goes no further; undefined when it is on its way. */
  write(packet: Packet): string | undefined {
    if (!this.#limit.take(packet.ifindex)) return "too many a second";
    // Strangers repeat themselves; our memory is not theirs to fill.
    const hasRoom = this.#call !== undefined && this.#call.writableLength < MOST_QUEUED;
    if (!hasRoom) return "nobody reads the stream";
    this.#call?.write(packet);
    return undefined;
  }
}
