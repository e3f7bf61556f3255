import type { ArpMessage, ArpWatch, LinkRef } from "@mnm/proto/helper";
import { encodeArpRequest } from "@mnm/proto/net";
import { demand, HelperError } from "./fault.js";
import * as check from "./operations/check.js";
import { AS_FRAME, ETH_P, sendPacket } from "./send-packet.js";
import { linkAddress } from "./sys.js";

const MOST_WATCHED = 4;

export function checkArpWatch(watch: ArpWatch, context: check.CheckContext) {
  const link = checkArpLink(watch.link, context);
  const isFew = watch.addresses.length <= MOST_WATCHED;
  demand(isFew, "not-permitted", "addresses", `${MOST_WATCHED} at most`);
  return { link, addresses: watch.addresses.map((one) => check.checkUnicast("addresses", one)) };
}

/** Who asks for whom, and which station is to hear it (undefined: all). RFC 5227 §1.1, RFC 4436 §2.1. */
export function checkArpMessage({ link: ref, kind }: ArpMessage, context: check.CheckContext) {
  const link = checkArpLink(ref, context);
  switch (kind?.$case) {
    case "probe": {
      const target = check.checkUnicast("target", kind.value.target);
      return { link, sender: 0, target, station: undefined };
    }
    case "announcement": {
      const address = check.checkOwn("address", kind.value.address, link, context);
      return { link, sender: address, target: address, station: undefined };
    }
    case "request": {
      const { gateway, gatewayMac } = kind.value;
      const sender = check.checkOwn("sender", kind.value.sender, link, context);
      const target = checkGateway(gateway, link, context);
      return { link, sender, target, station: checkStation(gatewayMac) };
    }
    default:
      throw new HelperError("malformed", "kind must be present and known", { field: "kind" });
  }
}

/** Throws HelperError when the kernel refuses. */
export function sendArpMessage(message: ReturnType<typeof checkArpMessage>): void {
  const { link, sender, target, station } = message;
  const packet = encodeArpRequest({ senderMac: link.mac, sender, target });
  sendPacket(link.ifindex, AS_FRAME, packet, linkAddress(link.ifindex, ETH_P.ARP, station));
}

/** The gateway of a route of ours: whom else a host may ask for is not our caller's to say. */
function checkGateway(gateway: number, link: check.CheckedLink, context: check.CheckContext) {
  const target = check.checkUnicast("gateway", gateway);
  const isOurs = context.facts
    .ownRoutesBy(link.ifindex)
    .some(({ table, gateway: of }) => of === target && check.isOwnTable(context.allow, table));
  demand(isOurs, "not-permitted", "gateway", "that of a route of ours by this link");
  return target;
}

function checkStation(mac: Buffer): Buffer | undefined {
  if (mac.length === 0) return undefined;
  const isOne = mac.length === 6 && (mac.readUInt8(0) & 1) === 0 && mac.some((byte) => byte !== 0);
  demand(isOne, "malformed", "gateway_mac", "empty, or six bytes of one station");
  return mac;
}

function checkArpLink(ref: LinkRef | undefined, context: check.CheckContext): check.CheckedLink {
  const link = check.checkLink(ref, context);
  const mayAsk = check.isEthernet(link) && !link.isNoArp;
  demand(mayAsk, "not-permitted", "link", "Ethernet, with ARP");
  return link;
}
