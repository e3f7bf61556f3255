import { kernelDid } from "./fault.js";
import * as sys from "./sys.js";

export interface PortOptions {
  readonly ifindex: number;
  /** ETH_P_*. */
  readonly protocol: number;
  readonly filter: Buffer;
}

export const ETH_P = { IP: 0x0800, ARP: 0x0806 } as const;

/** Sends one packet to a station of the link, or to all. Throws HelperError. */
export function sendFrame(
  link: Pick<PortOptions, "ifindex" | "protocol">,
  packet: Uint8Array,
  station?: Uint8Array,
): void {
  withSocket([sys.AF_PACKET, sys.SOCK_DGRAM, 0], (fd) =>
    kernelDid(sys.send(fd, packet, sys.linkAddress(link, station))),
  );
}

/** A socket for one packet: it takes 0.02 ms, and nothing has to be kept. */
export function withSocket(
  [family, type, protocol]: readonly [family: number, type: number, protocol: number],
  use: (fd: sys.Fd) => void,
): void {
  const fd = kernelDid(sys.openSocket(family, type, protocol));
  try {
    use(fd);
  } finally {
    sys.closeLater(fd);
  }
}

/**
 * Takes a packet, without its link-layer header, or says why not. Not summed: its checksum is
 * still to be computed. So it is between two programs on one machine (veth, virtio).
 */
export type Take = (packet: Buffer, isSummed: boolean) => string | undefined;

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
    this.#fd = kernelDid(sys.openSocket(sys.AF_PACKET, sys.SOCK_DGRAM | sys.SOCK_NONBLOCK, 0));
    try {
      kernelDid(sys.lockFilter(this.#fd, options.filter));
      kernelDid(sys.setOption(this.#fd, SOL_PACKET, PACKET_AUXDATA, sys.u32(1)));
      kernelDid(sys.bind(this.#fd, sys.linkAddress(options)));
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
      this.#count(length > BUFFER.length ? "oversized" : this.#take(packet, isSummed));
    }
    return drained;
  }

  close(): void {
    this.#watch.close();
    sys.closeLater(this.#fd);
  }

  #count(reason: string | undefined): void {
    if (reason === undefined) this.counts.received++;
    else {
      this.counts.dropped++;
      this.counts.lastDrop = reason;
    }
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
