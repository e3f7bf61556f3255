import type { DhcpMessage } from "@mnm/proto/helper";
import { type Branded, type Ipv4, ipv4FromUint32 } from "@mnm/proto/net";
import { demand } from "./fault.js";
import * as check from "./operations/check.js";

/** A DHCP message that passed {@link checkDhcpMessage}, with the addresses of its packet. */
export type CheckedDhcpMessage = Branded<
  {
    readonly link: check.CheckedLink;
    readonly payload: Buffer;
    readonly source: Ipv4;
    /** Undefined: broadcast. */
    readonly server: Ipv4 | undefined;
  },
  "CheckedDhcpMessage"
>;

const ARPHRD_ETHER = 1;
/** ARPHRD_* of links that carry bare IP packets: ARPHRD_RAWIP and ARPHRD_NONE. */
const RAW_IP = [519, 65_534];

/** A link whose packets the helper may send and receive. */
export function checkPacketLink(
  ref: DhcpMessage["link"],
  context: check.CheckContext,
): check.CheckedLink {
  const link = check.checkLink(ref, context);
  const isEther = link.hardware === ARPHRD_ETHER && link.mac.length === 6;
  const carriesIp = isEther || RAW_IP.includes(link.hardware);
  demand(carriesIp, "not-permitted", "link", "Ethernet-like or raw IP");
  return link;
}

/**
 * A message that a client of this link may send. Offsets are those of RFC 2131 §2, figure 1.
 * Options are not looked at: with our own hardware address, a client may say what it likes.
 */
export function checkDhcpMessage(
  request: DhcpMessage,
  context: check.CheckContext,
): CheckedDhcpMessage {
  const { payload, server, source } = request;
  const link = checkPacketLink(request.link, context);
  const isBody = (condition: boolean, must: string) =>
    demand(condition, "malformed", "payload", must);
  isBody(payload.length >= 240 && payload.length <= 1472, "240 to 1472 bytes");
  isBody(payload[0] === BOOTREQUEST, "a BOOTREQUEST");
  const hlen = link.hardware === ARPHRD_ETHER ? 6 : 0;
  // No number of a raw IP link fits into the byte of htype, so that the client has to choose.
  isBody(hlen === 0 || payload[1] === ARPHRD_ETHER, `with htype ${ARPHRD_ETHER}`);
  isBody(payload[2] === hlen, `with hlen ${hlen}`);
  const chaddr = Buffer.alloc(16);
  chaddr.set(link.mac.subarray(0, hlen));
  isBody(chaddr.equals(payload.subarray(28, 44)), `with the chaddr of ${link.name}`);
  isBody(payload[3] === 0, "with hops 0");
  isBody(payload.readUInt32BE(24) === 0, "with giaddr 0");
  isBody(payload.readUInt32BE(236) === MAGIC_COOKIE, "with the magic cookie of DHCP");

  const ciaddr = ipv4FromUint32(payload.readUInt32BE(12));
  if (ciaddr !== 0) check.checkOwn("ciaddr", ciaddr, { link, facts: context.facts });
  if (server === undefined) {
    demand(source === undefined, "malformed", "source", "absent for broadcast");
    return { link, payload, source: ciaddr, server } as CheckedDhcpMessage;
  }
  const isOwn = ciaddr !== 0 && source === ciaddr;
  demand(isOwn, "not-permitted", "source", "ciaddr, an address of the link, for unicast");
  const to = check.checkUnicast("server", server);
  return { link, payload, source: ciaddr, server: to } as CheckedDhcpMessage;
}

const BOOTREQUEST = 1;
const MAGIC_COOKIE = 0x6382_5363;
