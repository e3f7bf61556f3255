import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeArpRequest } from "./arp-packet.js";

test("encodeArpRequest() writes RFC 826's request, with no target hardware address", () => {
  const senderMac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  const packet = encodeArpRequest({ senderMac, sender: 0xc000_0202, target: 0xc000_0201 });
  assert.equal(
    Buffer.from(packet).toString("hex"),
    // Ethernet, IPv4, lengths 6 and 4, request; sender's MAC and address; target's.
    "0001080006040001" + "020000000001" + "c0000202" + "000000000000" + "c0000201",
  );
});
