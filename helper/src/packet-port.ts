import * as sys from "./sys.js";

export interface PortOptions {
  readonly ifindex: number;
  /** ETH_P_*. */
  readonly protocol: number;
  readonly filter: Buffer;
}

/**
 * Takes a packet, without its link-layer header, or says why not. Not summed: its checksum is
 * still to be computed. So it is between two programs on one machine (veth, virtio). `dropped` have
 * not been taken before it.
 */
export type Take = (packet: Buffer, isSummed: boolean, dropped: number) => string | undefined;

/** Receives one kind of packets on one link. */
export class PacketPort {
  readonly counts = { received: 0, dropped: 0, lastDrop: "" };
  readonly #options: PortOptions;
  readonly #take: Take;
  readonly #fd: sys.Fd;
  readonly #watch: { close(): void };

  /** Throws HelperError when the kernel refuses. */
  constructor(options: PortOptions, take: Take) {
    this.#options = options;
    this.#take = take;
    // With protocol 0 the socket receives nothing until bind() names both link and protocol:
    // never a packet of another link or one that the filter did not see, and 0.02 ms instead
    // of 16.
    this.#fd = sys.openSocket(sys.AF_PACKET, sys.SOCK_DGRAM | sys.SOCK_NONBLOCK, 0);
    try {
      sys.lockFilter(this.#fd, options.filter);
      sys.setOption(this.#fd, SOL_PACKET, PACKET_AUXDATA, sys.u32(1));
      sys.bind(this.#fd, sys.linkAddress(options.ifindex, options.protocol));
    } catch (cause) {
      sys.closeLater(this.#fd);
      throw cause;
    }
    this.#watch = sys.watchReadable(this.#fd, () => this.drain());
  }

  /** False once the link is gone, even if another one has its ifindex by now. */
  isBound(): boolean {
    return sys.boundAddress(this.#fd).readInt32LE(4) === this.#options.ifindex;
  }

  /** Whether a port with these options would receive what this one does. */
  serves({ filter }: PortOptions): boolean {
    return this.isBound() && this.#options.filter.equals(filter);
  }

  /** Takes what waits, but once what is in `known`, and gives it. */
  drain(known: readonly Buffer[] = []): readonly Buffer[] {
    const drained: Buffer[] = [];
    // A bound, so that one noisy link cannot keep the loop from the others.
    while (drained.length < 32) {
      const length = sys.receive(this.#fd, BUFFER, CONTROL.fill(0));
      // Nothing more; or ENETDOWN, once, when the link went down: the socket stays bound.
      if (length < 0) break;
      const packet = Buffer.from(BUFFER.subarray(0, length));
      drained.push(packet);
      if (known.some((one) => one.equals(packet))) continue;
      const isSummed = (CONTROL.readUInt32LE(TP_STATUS) & TP_STATUS_CSUMNOTREADY) === 0;
      const isWhole = length <= BUFFER.length;
      const drop = isWhole ? this.#take(packet, isSummed, this.counts.dropped) : "oversized";
      this.counts[drop === undefined ? "received" : "dropped"] += 1;
      this.counts.lastDrop = drop ?? this.counts.lastDrop;
    }
    return drained;
  }

  close(): void {
    this.#watch.close();
    sys.closeLater(this.#fd);
  }
}

// Of all ports, since nothing else runs between a packet's arrival in it and its copy.
const BUFFER = Buffer.alloc(1500);
const CONTROL = Buffer.alloc(256);
/** Where tp_status of struct tpacket_auxdata is, behind the only struct cmsghdr. */
const TP_STATUS = 16;
const TP_STATUS_CSUMNOTREADY = 1 << 3;
const SOL_PACKET = 263;
const PACKET_AUXDATA = 8;
