import type { LegacyEvent } from "@mnm/proto/helper";
import type { AllowList } from "./allow-list.js";
import { demand } from "./fault.js";
import { AS_NETLINK, sendPacket } from "./send-packet.js";
import { AF_NETLINK } from "./sys.js";

/**
 * Tells whoever listens as multi_netlinkrecv.c does: netlink of protocol 16, group 1, a header and
 * five bytes (is up, ifindex), filled up to 24. Nobody listening is no fault.
 */
export function sendLegacyEvent({ ifindex, up }: LegacyEvent, allow: AllowList): void {
  demand(allow.legacyBroadcast, "not-permitted", "legacy_broadcast", "true in helper.json");
  const isIfindex = ifindex >= 1 && ifindex <= 0x7fff_ffff;
  demand(isIfindex, "malformed", "ifindex", "1 to 2147483647");
  // struct nlmsghdr: length, type, flags, sequence, sender. Of type 0 and without NLM_F_ACK, so
  // that the kernel, which gets a copy, has nothing to do with it.
  const message = Buffer.alloc(24);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt32LE(process.pid, 12);
  message.writeUInt8(up ? 1 : 0, 16);
  message.writeUInt32LE(ifindex, 17);
  sendPacket(undefined, AS_NETLINK, message, GROUP_1);
}

// struct sockaddr_nl: family, port 0, a bit for each group.
const GROUP_1 = Uint8Array.of(AF_NETLINK, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0);
