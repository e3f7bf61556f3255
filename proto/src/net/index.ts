export { encodeArpRequest } from "./arp-packet.js";
export { ByteReader } from "./byte-reader.js";
export { ByteWriter } from "./byte-writer.js";
export { internetChecksum } from "./checksum.js";
export {
  type Branded,
  formatIpv4,
  formatIpv4Prefix,
  type Ipv4,
  type Ipv4Error,
  type Ipv4Prefix,
  ipv4FromUint32,
  isHostUnicast,
  isNetworkOrBroadcast,
  lastOf,
  networkOf,
  type PrefixLength,
  parseIpv4,
  parseIpv4Prefix,
  prefixContains,
  prefixesOverlap,
  prefixLengthFromMask,
  prefixLengthFromNumber,
} from "./ipv4.js";
export {
  type Ifindex,
  ifindexFromNumber,
  ipv4FromBytes,
  ipv4ToBytes,
  type LinkName,
  linkNameFromKernel,
  type MacAddress,
  macFromBytes,
  macToBytes,
  parseLinkName,
  parseMac,
} from "./link.js";
export { LinkLimit } from "./link-limit.js";
export { ANCILLARY, assembleFilter, type FilterStep } from "./packet-filter.js";
export { assertNever, err, ok, type Result } from "./result.js";
export { after, type Instant, instantFromMs } from "./time.js";
export { type MonotonicMs, TokenBucket } from "./token-bucket.js";
export {
  encodeUdpPacket,
  readUdpPacket,
  type UdpEndpoints,
  type UdpPacketError,
} from "./udp-packet.js";
