import {
  ByteReader,
  err,
  type Ipv4,
  ipv4FromUint32,
  type MacAddress,
  macFromBytes,
  ok,
  type Result,
} from "@mnm/proto/net";

/** A received ARP packet, as far as it tells who has an address. */
export interface ArpPacket {
  readonly operation: "request" | "reply";
  readonly senderMac: MacAddress;
  /** 0.0.0.0 in a probe. */
  readonly sender: Ipv4;
  readonly target: Ipv4;
}

/** An ARP request to be sent; the helper writes the packet. */
export type ArpMessage =
  /** Is this address in use? RFC 5227 §1.1. */
  | { readonly kind: "probe"; readonly target: Ipv4 }
  /** This address is in use here. RFC 5227 §1.1. */
  | { readonly kind: "announcement"; readonly address: Ipv4 }
  /** Is this gateway there? To that MAC alone (RFC 4436 §2.1), or to all. */
  | {
      readonly kind: "request";
      readonly sender: Ipv4;
      readonly gateway: Ipv4;
      readonly gatewayMac: MacAddress | undefined;
    };

export interface ArpPacketError {
  readonly code: "truncated" | "not-ipv4-on-ethernet" | "operation-unknown";
}

const HTYPE_ETHERNET = 1;
const ETHERTYPE_IPV4 = 0x0800;
const OPERATIONS: ReadonlyMap<number, ArpPacket["operation"]> = new Map([
  [1, "request"],
  [2, "reply"],
]);

/** RFC 826. Bytes after the packet's 28 are Ethernet's padding. */
export function decodeArp(bytes: Uint8Array): Result<ArpPacket, ArpPacketError> {
  const reader = new ByteReader(bytes);
  const format = [reader.u16(), reader.u16(), reader.u8(), reader.u8()].join();
  const operation = OPERATIONS.get(reader.u16());
  const senderMac = macFromBytes(reader.bytes(6));
  const sender = ipv4FromUint32(reader.u32());
  reader.bytes(6);
  const target = ipv4FromUint32(reader.u32());
  if (reader.overrun || senderMac === undefined) return err({ code: "truncated" });
  if (format !== [HTYPE_ETHERNET, ETHERTYPE_IPV4, 6, 4].join()) {
    return err({ code: "not-ipv4-on-ethernet" });
  }
  if (operation === undefined) return err({ code: "operation-unknown" });
  return ok({ operation, senderMac, sender, target });
}
