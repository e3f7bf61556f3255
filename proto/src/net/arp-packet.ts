import { ByteWriter } from "./byte-writer.js";

/** An ARP request for IPv4 on Ethernet, of 28 bytes; `sender` 0 makes it a probe. RFC 826, RFC 5227. */
export function encodeArpRequest(request: {
  /** Six bytes. */
  readonly senderMac: Uint8Array;
  readonly sender: number;
  readonly target: number;
}): Uint8Array {
  return (
    new ByteWriter(28)
      // Ethernet, IPv4; addresses of six and four bytes; a request.
      .u32(0x0001_0800)
      .u32(0x0604_0001)
      .bytes(request.senderMac)
      .u32(request.sender)
      .zeros(6)
      .u32(request.target)
      .finish()
  );
}
