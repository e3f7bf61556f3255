import assert from "node:assert/strict";
import { test } from "node:test";
import { type DhcpPacket, packetText, readTcpdump } from "./tcpdump-text.js";

/** As tcpdump 4.99.3 prints it, without the option lists. */
const RELAYED_OFFER = `1795472430.571964 7e:2b:de:4e:74:8a > 02:00:00:00:00:03, ethertype IPv4 (0x0800), length 342: (tos 0x0, ttl 128, id 0, offset 0, flags [none], proto UDP (17), length 328)
    10.3.0.1.67 > 10.3.0.50.68: [udp sum ok] BOOTP/DHCP, Reply, length 300, hops 1, xid 0xc627ff97, secs 4, Flags [Broadcast] (0x8000)
	  Your-IP 10.3.0.50
	  Gateway-IP 10.3.0.1
	  Client-Ethernet-Address 02:00:00:00:00:03
	  Vendor-rfc1048 Extensions
	    Magic Cookie 0x63825363
	    DHCP-Message (53), length 1: Offer
	    Server-ID (54), length 4: 172.31.0.2
	    Lease-Time (51), length 4: 20
	    RN (58), length 4: 10
	    RB (59), length 4: 14
	    Subnet-Mask (1), length 4: 255.255.255.0
	    END (255), length 0
	    PAD (0), length 0, occurs 21
`;

const RENEWAL = `1795472440.000001 02:00:00:00:00:03 > 7e:2b:de:4e:74:8a, ethertype IPv4 (0x0800), length 342: (tos 0x0, ttl 64, id 0, offset 0, flags [DF], proto UDP (17), length 328)
    10.3.0.50.68 > 172.31.0.2.67: [bad udp cksum 0x1234 -> 0x4321!] BOOTP/DHCP, Request from 02:00:00:00:00:03, length 300, xid 0x5c5b3c15, Flags [none] (0x0000)
	  Client-IP 10.3.0.50
	  Client-Ethernet-Address 02:00:00:00:00:03
	  Vendor-rfc1048 Extensions
	    Magic Cookie 0x63825363
	    DHCP-Message (53), length 1: Request
	    Requested-IP (50), length 4: 10.3.0.50
	    END (255), length 0
`;

/** Quotes the packet that it is about, which was not on the wire once more. */
const UNREACHABLE = `1795472440.000400 02:00:00:00:00:03 > 7e:2b:de:4e:74:8a, ethertype IPv4 (0x0800), length 370: (tos 0xc0, ttl 64, id 1, offset 0, flags [none], proto ICMP (1), length 356)
    10.3.0.50 > 172.31.0.2: ICMP 10.3.0.50 udp port 68 unreachable, length 336
	(tos 0x0, ttl 64, id 2, offset 0, flags [DF], proto UDP (17), length 328)
    172.31.0.2.67 > 10.3.0.50.68: [no cksum] BOOTP/DHCP, Reply, length 300, xid 0x5c5b3c15, Flags [none] (0x0000)
	  Your-IP 10.3.0.50
	  Client-Ethernet-Address 02:00:00:00:00:03
	  Vendor-rfc1048 Extensions
	    Magic Cookie 0x63825363
	    DHCP-Message (53), length 1: ACK
	    END (255), length 0
`;

const OFFER: DhcpPacket = {
  type: "dhcp",
  at: 1795472430572,
  fromMac: "7e:2b:de:4e:74:8a",
  toMac: "02:00:00:00:00:03",
  source: "10.3.0.1",
  destination: "10.3.0.50",
  sourcePort: 67,
  destinationPort: 68,
  checksumOk: true,
  kind: "offer",
  chaddr: "02:00:00:00:00:03",
  xid: "0xc627ff97",
  secs: 4,
  broadcastFlag: true,
  ciaddr: "0.0.0.0",
  yiaddr: "10.3.0.50",
  giaddr: "10.3.0.1",
  requested: undefined,
  serverId: "172.31.0.2",
  leaseSec: 20,
  t1Sec: 10,
  t2Sec: 14,
  subnetMask: "255.255.255.0",
};

test("every field of a message that tcpdump shows", () => {
  assert.deepEqual(readTcpdump(RELAYED_OFFER), [OFFER]);
  assert.equal(
    packetText(OFFER),
    "offer 10.3.0.1 > 10.3.0.50 yiaddr 10.3.0.50 giaddr 10.3.0.1 server 172.31.0.2",
  );
});

test("what tcpdump says when it starts, a request, and a refusal that quotes its answer", () => {
  const start = "tcpdump: listening on lan, link-type EN10MB (Ethernet), snapshot length 262144\n";
  const [renewal, unreachable, ...more] = readTcpdump(start + RENEWAL + UNREACHABLE);
  assert.ok(renewal?.type === "dhcp");
  assert.equal(renewal.checksumOk, false);
  assert.equal(
    packetText(renewal),
    "request 10.3.0.50 > 172.31.0.2 ciaddr 10.3.0.50 requested 10.3.0.50",
  );
  assert.deepEqual(unreachable, {
    type: "unreachable",
    at: 1795472440000,
    source: "10.3.0.50",
    destination: "172.31.0.2",
    what: "10.3.0.50 udp port 68 unreachable",
  });
  assert.deepEqual(more, []);
});

test("a packet that is still being written does not count, nor do the ones before it suffer", () => {
  const whole = RELAYED_OFFER + RENEWAL;
  const lastLine = whole.lastIndexOf("\t    END");
  for (let length = RELAYED_OFFER.length; length <= lastLine; length++) {
    assert.deepEqual(readTcpdump(whole.slice(0, length)), [OFFER]);
  }
  assert.equal(readTcpdump(whole).length, 2);
});
