import type { DhcpMessage } from "@mnm/proto/helper";
import { encodeUdpPacket, ipv4FromUint32 } from "@mnm/proto/net";
import { demand } from "./fault.js";
import * as check from "./operations/check.js";
import { AS_FRAME, AS_ROUTED, ETH_P, sendPacket } from "./send-packet.js";
import { internetAddress, linkAddress } from "./sys.js";

/** ARPHRD_* of links that carry bare IP packets: ARPHRD_RAWIP and ARPHRD_NONE. */
const RAW_IP = [519, 65_534];

/** A link whose packets the helper may send and receive. */
export function checkPacketLink(
  ref: DhcpMessage["link"],
  context: check.CheckContext,
): check.CheckedLink {
  const link = check.checkLink(ref, context);
  const carriesIp = check.isEthernet(link) || RAW_IP.includes(link.hardware);
  demand(carriesIp, "not-permitted", "link", "Ethernet-like or raw IP");
  return link;
}

/**
 * A message that a client of this link may send. Offsets are those of RFC 2131 §2, figure 1.
 * Options are not looked at: with our own hardware address, a client may say what it likes.
 */
export function checkDhcpMessage(request: DhcpMessage, context: check.CheckContext) {
  const { payload, server, source } = request;
  const link = checkPacketLink(request.link, context);
  const isBody = (condition: boolean, must: string) =>
    demand(condition, "malformed", "payload", must);
  isBody(payload.length >= 240 && payload.length <= 1472, "240 to 1472 bytes");
  isBody(payload[0] === BOOTREQUEST, "a BOOTREQUEST");
  const hlen = check.isEthernet(link) ? 6 : 0;
  // No number of a raw IP link fits into the byte of htype, so that the client has to choose.
  isBody(hlen === 0 || payload[1] === HTYPE_ETHERNET, `with htype ${HTYPE_ETHERNET}`);
  isBody(payload[2] === hlen, `with hlen ${hlen}`);
  const chaddr = Buffer.alloc(16);
  chaddr.set(link.mac.subarray(0, hlen));
  isBody(chaddr.equals(payload.subarray(28, 44)), `with the chaddr of ${link.name}`);
  isBody(payload[3] === 0, "with hops 0");
  isBody(payload.readUInt32BE(24) === 0, "with giaddr 0");
  isBody(payload.readUInt32BE(236) === MAGIC_COOKIE, "with the magic cookie of DHCP");

  const ciaddr = ipv4FromUint32(payload.readUInt32BE(12));
  if (ciaddr !== 0) check.checkOwn("ciaddr", ciaddr, link, context);
  if (server === undefined) {
    demand(source === undefined, "malformed", "source", "absent for broadcast");
    return { link, payload, source: ciaddr, server };
  }
  const isOwn = ciaddr !== 0 && source === ciaddr;
  demand(isOwn, "not-permitted", "source", "ciaddr, an address of the link, for unicast");
  return { link, payload, source: ciaddr, server: check.checkUnicast("server", server) };
}

/** Without a server by broadcast. Throws HelperError when the kernel refuses. */
export function sendDhcpMessage(message: ReturnType<typeof checkDhcpMessage>): void {
  const { source, server } = message;
  const { ifindex } = message.link;
  const addresses = { source, destination: server ?? BROADCAST };
  const ends = { ...addresses, sourcePort: 68, destinationPort: 67 };
  const packet = encodeUdpPacket(ends, message.payload);
  if (server === undefined) sendPacket(ifindex, AS_FRAME, packet, linkAddress(ifindex, ETH_P.IP));
  else sendPacket(ifindex, AS_ROUTED, packet, internetAddress(server));
}

const BOOTREQUEST = 1;
const HTYPE_ETHERNET = 1;
const MAGIC_COOKIE = 0x6382_5363;
const BROADCAST = ipv4FromUint32(0xffff_ffff);
