import { ByteReader } from "./byte-reader.js";
import { ByteWriter } from "./byte-writer.js";
import { internetChecksum } from "./checksum.js";
import { type Ipv4, ipv4FromUint32 } from "./ipv4.js";
import { err, ok, type Result } from "./result.js";

export interface UdpEndpoints {
  readonly source: Ipv4;
  readonly sourcePort: number;
  readonly destination: Ipv4;
  readonly destinationPort: number;
}

export type UdpPacketError = {
  readonly code:
    | "truncated"
    | "not-udp"
    | "fragment"
    | "ip-checksum"
    | "udp-length"
    | "udp-checksum";
};

/** Wraps a payload into UDP and IPv4, as a host does that sends it. RFC 791, RFC 768. */
export function encodeUdpPacket(endpoints: UdpEndpoints, payload: Uint8Array): Uint8Array {
  const { source, destination, sourcePort, destinationPort } = endpoints;
  const length = UDP_HEADER + payload.length;
  const ip = (checksum: number): Uint8Array =>
    new ByteWriter(IP_HEADER)
      .u16(0x4500)
      .u16(IP_HEADER + length)
      // Identification 0 with "don't fragment": RFC 6864 §4.1.
      .u16(0)
      .u16(0x4000)
      .u8(64)
      .u8(PROTOCOL_UDP)
      .u16(checksum)
      .u32(source)
      .u32(destination)
      .finish();
  const udp = (checksum: number): Uint8Array =>
    new ByteWriter(UDP_HEADER)
      .u16(sourcePort)
      .u16(destinationPort)
      .u16(length)
      .u16(checksum)
      .finish();
  const sum = internetChecksum(pseudoHeader(source, destination, length), udp(0), payload);
  return (
    new ByteWriter(IP_HEADER + length)
      .bytes(ip(internetChecksum(ip(0))))
      // A sum of 0 is sent as all ones, since 0 says that there is none. RFC 768.
      .bytes(udp(sum === 0 ? 0xffff : sum))
      .bytes(payload)
      .finish()
  );
}

/**
 * Unwraps a packet as it came off a link; padding behind it is cut off.
 *
 * @param isSummed false when the kernel says that the checksum of UDP is still to be computed
 *   (TP_STATUS_CSUMNOTREADY): it is then not looked at.
 */
export function readUdpPacket(
  packet: Uint8Array,
  isSummed: boolean,
): Result<{ readonly source: Ipv4; readonly payload: Uint8Array }, UdpPacketError> {
  const reader = new ByteReader(packet);
  const version = reader.u8();
  const headerLength = (version & 0x0f) * 4;
  reader.u8();
  const totalLength = reader.u16();
  reader.u16();
  const fragment = reader.u16();
  reader.u8();
  const protocol = reader.u8();
  reader.u16();
  const source = ipv4FromUint32(reader.u32());
  const destination = ipv4FromUint32(reader.u32());
  reader.bytes(Math.max(0, headerLength - IP_HEADER));
  reader.u32();
  const length = reader.u16();
  const checksum = reader.u16();
  if (reader.overrun || totalLength > packet.length) return err({ code: "truncated" });
  const isIpv4 = version >> 4 === 4 && headerLength >= IP_HEADER;
  if (!isIpv4 || protocol !== PROTOCOL_UDP) return err({ code: "not-udp" });
  // More fragments, or an offset.
  if ((fragment & 0x3fff) !== 0) return err({ code: "fragment" });
  if (internetChecksum(packet.subarray(0, headerLength)) !== 0) return err({ code: "ip-checksum" });
  if (length < UDP_HEADER || headerLength + length > totalLength) {
    return err({ code: "udp-length" });
  }
  const udp = packet.subarray(headerLength, headerLength + length);
  const sum = internetChecksum(pseudoHeader(source, destination, length), udp);
  if (isSummed && checksum !== 0 && sum !== 0) return err({ code: "udp-checksum" });
  return ok({ source, payload: udp.slice(UDP_HEADER) });
}

function pseudoHeader(source: Ipv4, destination: Ipv4, length: number): Uint8Array {
  const writer = new ByteWriter(12).u32(source).u32(destination);
  return writer.u16(PROTOCOL_UDP).u16(length).finish();
}

const IP_HEADER = 20;
const UDP_HEADER = 8;
const PROTOCOL_UDP = 17;
