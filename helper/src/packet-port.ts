import {
  encodeUdpPacket,
  type Ipv4,
  ipv4FromUint32,
  ipv4ToBytes,
  readUdpPacket,
} from "@mnm/proto/net";
import { DHCP_FILTER } from "./dhcp-filter.js";
import type { CheckedDhcpMessage } from "./dhcp-message.js";
import type { CheckedLink } from "./operations/check.js";
import { kernelRefused } from "./route-socket.js";
import * as sys from "./sys.js";

/** A DHCP payload that came in, and who sent it. */
export interface ReceivedDhcp {
  readonly ifindex: number;
  readonly payload: Uint8Array;
  readonly source: Ipv4;
}

export interface PacketPortEvents {
  received(dhcp: ReceivedDhcp): void;
  dropped(reason: string): void;
}

/** The two sockets of one link: frames in and broadcasts out, and unicast out. */
export class PacketPort {
  readonly #ifindex: number;
  readonly #events: PacketPortEvents;
  readonly #packets: sys.Fd;
  readonly #unicast: sys.Fd;
  readonly #watch: { close(): void };
  readonly #buffer = Buffer.alloc(2048);
  readonly #control = Buffer.alloc(256);

  /** Throws HelperError when the kernel refuses. */
  constructor({ ifindex }: CheckedLink, events: PacketPortEvents) {
    this.#ifindex = ifindex;
    this.#events = events;
    // With protocol 0 the socket receives nothing until bind() names both link and protocol:
    // never a packet of another link or one that the filter did not see, and 0.02 ms instead
    // of 16.
    this.#packets = sys.openSocket(AF_PACKET, SOCK_DGRAM, 0);
    this.#unicast = sys.openSocket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    const failed = [
      this.#packets,
      this.#unicast,
      sys.lockFilter(this.#packets, DHCP_FILTER),
      sys.setOption(this.#packets, SOL_PACKET, PACKET_AUXDATA, sys.u32(1)),
      // By number, so that it stays with a link that is renamed.
      sys.setOption(this.#unicast, SOL_SOCKET, SO_BINDTOIFINDEX, sys.u32(ifindex)),
      sys.bind(this.#packets, linkAddress(ifindex)),
    ].find((result) => result < 0);
    if (failed !== undefined) {
      this.#closeSockets();
      throw kernelRefused(failed);
    }
    this.#watch = sys.watchReadable(this.#packets, () => this.#drain());
  }

  /** False once the link is gone, even if another one has its ifindex by now. */
  isBound(): boolean {
    return sys.boundAddress(this.#packets).readInt32LE(4) === this.#ifindex;
  }

  /** Throws HelperError when the kernel refuses. */
  send({ payload, source, server }: CheckedDhcpMessage): void {
    const addresses = { source, destination: server ?? BROADCAST };
    const packet = encodeUdpPacket({ ...addresses, sourcePort: 68, destinationPort: 67 }, payload);
    // Unicast by a raw socket, so that the kernel routes it and resolves the next hop.
    const sent =
      server === undefined
        ? sys.send(this.#packets, packet, linkAddress(this.#ifindex))
        : sys.send(this.#unicast, packet, internetAddress(server));
    if (sent < 0) throw kernelRefused(sent);
  }

  close(): void {
    this.#watch.close();
    this.#closeSockets();
  }

  #closeSockets(): void {
    sys.closeLater(this.#packets);
    sys.closeLater(this.#unicast);
  }

  #drain(): void {
    // A bound, so that one noisy link cannot keep the loop from the others.
    for (let count = 0; count < 32; count++) {
      const length = sys.receiveMessage(this.#packets, this.#buffer, this.#control.fill(0));
      // Nothing more; or ENETDOWN, once, when the link went down: the socket stays bound.
      if (length < 0) return;
      if (length > LARGEST_PACKET) this.#events.dropped("oversized");
      else this.#take(this.#buffer.subarray(0, length));
    }
  }

  #take(packet: Uint8Array): void {
    // struct cmsghdr, of which there is only one: 16 bytes, and tp_status of tpacket_auxdata.
    const status = this.#control.readUInt32LE(16);
    // The sum is still to be computed: so it is between a server and us on one machine (veth,
    // virtio), and a client that verifies it anyway gets no lease.
    const isSummed = (status & TP_STATUS_CSUMNOTREADY) === 0;
    const read = readUdpPacket(packet, isSummed);
    if (read.ok) this.#events.received({ ifindex: this.#ifindex, ...read.value });
    else this.#events.dropped(read.error.code);
  }
}

/** struct sockaddr_ll: all stations on that link, IPv4. */
function linkAddress(ifindex: number): Uint8Array {
  const [to, ff] = [sys.u32(ifindex), 0xff];
  const head = [AF_PACKET, 0, ETH_P_IP >> 8, ETH_P_IP & 0xff, ...to, 0, 0, 0, 6];
  return Uint8Array.from([...head, ff, ff, ff, ff, ff, ff, 0, 0]);
}

/** struct sockaddr_in; a raw socket has no port. */
function internetAddress(to: Ipv4): Uint8Array {
  return Uint8Array.from([AF_INET, 0, 0, 0, ...ipv4ToBytes(to), 0, 0, 0, 0, 0, 0, 0, 0]);
}

const AF_INET = 2;
const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;
const ETH_P_IP = 0x0800;
const SOL_SOCKET = 1;
const SO_BINDTOIFINDEX = 62;
const SOL_PACKET = 263;
const PACKET_AUXDATA = 8;
const TP_STATUS_CSUMNOTREADY = 1 << 3;
const LARGEST_PACKET = 1500;
const BROADCAST = ipv4FromUint32(0xffff_ffff);
