import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatIpv4, formatIpv4Prefix } from "@mnm/proto/net";
import { describe as words } from "./apply.js";
import { KernelFacts, parseKernelAddress, parseKernelLink } from "./facts.js";
import { HelperError } from "./fault.js";
import { RouteSocket } from "./route-socket.js";
import { judgeCapabilities, shortened } from "./start/capabilities.js";
import { AF_INET, closeLater, lockFilter, openSocket, SOCK_DGRAM } from "./sys.js";

const hex = (text: string) => Buffer.from(text.replace(/#.*$/gm, "").replace(/\s+/g, ""), "hex");

describe("judgeCapabilities()", () => {
  const status = (sets: Readonly<Record<string, string>>) =>
    Object.entries(sets)
      .map(([name, bits]) => `${name}:\t${bits}\n`)
      .join("");
  const two = "0000000000003000";
  const sets = { CapInh: two, CapPrm: two, CapEff: two, CapBnd: two, CapAmb: two };

  test("finds nothing to complain of in exactly the two", () => {
    const { fault, excess, sets: names } = judgeCapabilities(status(sets), false);
    assert.deepEqual([fault, excess], [undefined, []]);
    assert.deepEqual(names["CapAmb"], ["CAP_NET_ADMIN", "CAP_NET_RAW"]);
  });

  test("names what is missing from the effective set alone", () => {
    const { fault } = judgeCapabilities(status({ ...sets, CapEff: "0000000000001000" }), false);
    assert.match(fault ?? "", /needs CAP_NET_RAW, but/);
    const none = judgeCapabilities("", false).fault ?? "";
    assert.match(none, /needs CAP_NET_ADMIN and CAP_NET_RAW, but/);
  });

  test("names what is in excess in any set, even the bounding set", () => {
    const beyond = status({ ...sets, CapBnd: "0000010000203000" });
    const { excess } = judgeCapabilities(beyond, false);
    assert.deepEqual(excess, ["capability 21", "capability 40"]);
  });

  const of = (text: string, mayExceed = false) => judgeCapabilities(text, mayExceed).fault;
  const effective = "CapPrm:\t3000\nCapEff:\t3000\n";

  test("has nothing to say of the two", () => assert.equal(of(effective), undefined));

  test("names what is too much, in which sets, and the ways out", () => {
    const fault = of(`${effective}CapBnd:\t203000\nCapInh:\t1\n`) ?? "";
    assert.match(fault, /holds capability 0 and capability 21 .* \(in CapInh, CapBnd\)/);
    assert.match(fault, /systemd.* --drop-to USER.* --allow-excess-capabilities$/);
    assert.match(of(`${effective}CapBnd:\t1ffffffffff\n`) ?? "", /holds 39 capabilities/);
  });

  test("lets itself be overruled in what is too much, and not in what is missing", () => {
    assert.equal(of(`${effective}CapBnd:\t203000\n`, true), undefined);
    assert.match(of("CapEff:\t1000\n", true) ?? "", /needs CAP_NET_RAW, but/);
  });
});

describe("shortened()", () => {
  test("names what has a name, and counts the others", () => {
    assert.equal(shortened(["CAP_NET_RAW", "capability 0"]), "CAP_NET_RAW and 1 others");
    assert.equal(shortened(["CAP_NET_ADMIN", "CAP_NET_RAW"]), "CAP_NET_ADMIN CAP_NET_RAW");
    assert.equal(shortened([]), "none");
  });
});

describe("RouteSocket", () => {
  test("waits a second for an answer, and is of use afterwards", () => {
    const socket = new RouteSocket();
    const start = performance.now();
    // The kernel passes over a message of this type, and says nothing.
    const NLMSG_NOOP = 1;
    const isLate = (cause: unknown) =>
      cause instanceof HelperError && cause.fault.errno === "EAGAIN";
    assert.throws(() => socket.lookup(NLMSG_NOOP, [], "ENODEV"), isLate);
    const waitedMs = performance.now() - start;
    // SO_RCVTIMEO never ends early but for the kernel's tick; above, there is room for a busy machine.
    assert.ok(waitedMs > 950 && waitedMs < 5000, `it waited ${waitedMs} ms`);
    assert.equal(new KernelFacts(socket).link(1)?.isLoopback, true);
  });
});

describe("lockFilter()", () => {
  test("no other filter can take the place of the first", () => {
    // Return 0: take nothing. Return -1: take all of it.
    const none = hex("0600 00 00 00000000");
    const all = hex("0600 00 00 ffffffff");
    const fd = openSocket(AF_INET, SOCK_DGRAM, 0);
    try {
      lockFilter(fd, none);
      const isRefused = (cause: unknown) =>
        cause instanceof HelperError && cause.fault.errno === "EPERM";
      assert.throws(() => lockFilter(fd, all), isRefused);
    } finally {
      closeLater(fd);
    }
  });
});

describe("what the kernel says", () => {
  test("parseKernelLink() reads a veth", () => {
    const link = parseKernelLink(
      hex(`00 00 0100 07000000 03100100 00000000 # ARPHRD_ETHER, ifindex 7, UP BROADCAST …
           0900 0300 77616e3100 000000           # IFLA_IFNAME "wan1"
           0a00 0100 020000000001 0000           # IFLA_ADDRESS
           0800 0d00 e8030000                    # IFLA_TXQLEN, of no interest`),
    );
    assert.deepEqual(
      { ...link, mac: Buffer.from(link.mac).toString("hex") },
      {
        ifindex: 7,
        name: "wan1",
        mac: "020000000001",
        hardware: 1,
        isLoopback: false,
        isPointToPoint: false,
        isNoArp: false,
      },
    );
  });

  test("parseKernelLink() reads lo and a link without hardware address", () => {
    const lo = parseKernelLink(hex("00 00 0403 01000000 49000100 00000000"));
    assert.deepEqual([lo.hardware, lo.isLoopback, lo.isPointToPoint], [772, true, false]);
    const ppp = parseKernelLink(hex("00 00 0002 09000000 d1100100 00000000"));
    assert.deepEqual([ppp.hardware, ppp.isPointToPoint, ppp.mac.length], [512, true, 0]);
  });

  test("parseKernelAddress() reads peer, prefix, broadcast and owner", () => {
    const held = parseKernelAddress(
      hex(`02 18 80 00 07000000      # AF_INET, /24, permanent, ifindex 7
           0800 0100 c0000263        # IFA_ADDRESS 192.0.2.99, the peer
           0800 0200 c6336402        # IFA_LOCAL 198.51.100.2
           0800 0400 c00002ff        # IFA_BROADCAST
           0500 0b00 4d 000000       # IFA_PROTO 77`),
    );
    assert.ok(held);
    assert.equal(formatIpv4(held.address), "198.51.100.2");
    assert.equal(formatIpv4(held.peer), "192.0.2.99");
    assert.equal(formatIpv4Prefix(held.prefix), "192.0.2.0/24");
    assert.deepEqual([held.ifindex, held.broadcast, held.protocol], [7, 0xc000_02ff, 77]);
  });

  test("parseKernelAddress() says 0 where no owner is named, and skips what is no IPv4", () => {
    const plain = parseKernelAddress(hex("02 20 80 00 07000000 0800 0200 c0000202"));
    assert.deepEqual([plain?.protocol, plain?.peer, plain?.broadcast], [0, 0xc000_0202, undefined]);
    assert.equal(parseKernelAddress(hex("0a 40 80 00 07000000")), undefined);
  });
});

describe("describe()", () => {
  test("writes addresses as addresses, and bytes in short", () => {
    const link = { ifindex: 2, name: "wan1", mac: Buffer.from("020000000001", "hex") };
    const value = { link, address: 0xc000_0202, gateway: undefined, payload: Buffer.alloc(300) };
    assert.equal(
      words(value),
      "link=(ifindex=2 name=wan1 mac=020000000001) address=192.0.2.2 payload=(300 bytes)",
    );
  });

  test("bounds what a caller may write into the log", () => {
    assert.ok(words({ name: "x".repeat(60_000) }).length < 50);
  });
});
