import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { u32 } from "../testing/dhcp4-server.js";
import { DhcpSimulation } from "../testing/dhcp4-simulation.js";
import { bound, play, type Timeline } from "../testing/dhcp4-timeline.js";
import { leaseOf } from "./index.js";

const TIMERS: readonly Timeline[] = [
  {
    name: "renews by unicast, rebinds by broadcast, expires to the second, and asks for it again",
    capture: `${bound()}
      1800 s    > REQUEST unicast 192.0.2.1 xid=3 secs=0 ciaddr=192.0.2.50 no-50 no-54
      2475 s    > REQUEST unicast 192.0.2.1 xid=4 secs=675 ciaddr=192.0.2.50 no-50 no-54
      2812.5 s  > REQUEST unicast 192.0.2.1
      2981.25 s > REQUEST unicast 192.0.2.1
      3065.63 s > REQUEST unicast 192.0.2.1
      3107.81 s > REQUEST unicast 192.0.2.1
      3128.91 s > REQUEST unicast 192.0.2.1
      3139.45 s > REQUEST unicast 192.0.2.1
      3149.45 s > REQUEST unicast 192.0.2.1
      3150 s    ! lease-rebinding 192.0.2.50/24
                > REQUEST broadcast secs=1350 ciaddr=192.0.2.50 no-50 no-54
      3375 s    > REQUEST broadcast ciaddr=192.0.2.50
      3487.5 s  > REQUEST broadcast
      3543.75 s > REQUEST broadcast
      3571.88 s > REQUEST broadcast
      3585.94 s > REQUEST broadcast
      3595.94 s > REQUEST broadcast
      3600 s    ! lease-lost 192.0.2.50/24 expired
                > DISCOVER broadcast secs=0 no-ciaddr 50=192.0.2.50 no-54`,
  },
  {
    name: "T1 and T2 of the server's choice",
    capture: `${bound("t1=300 t2=310")}
      300 s     > REQUEST unicast 192.0.2.1
      310 s     ! lease-rebinding 192.0.2.50/24
                > REQUEST broadcast
                < ACK
                ! lease-renewed 192.0.2.50/24 t1=2110 t2=3460 expiry=3910`,
  },
  {
    name: "T1 and T2 out of order: the defaults",
    capture: `${bound("t1=3000 t2=2000")}
      1800 s    > REQUEST unicast 192.0.2.1`,
  },
  {
    name: "a lease of ten seconds is used to its end, and acquired afresh",
    capture: `${bound("lease=10")}
      10 s      ! lease-lost 192.0.2.50/24 expired
                > DISCOVER 50=192.0.2.50
                < OFFER lease=10
                > REQUEST
                < ACK lease=10
                ! lease-bound 192.0.2.50/24 expiry=20`,
  },
  {
    name: "a lease of twenty seconds is renewed after ten",
    capture: `${bound("lease=20")}
      10 s      > REQUEST unicast 192.0.2.1
                < ACK lease=20
                ! lease-renewed 192.0.2.50/24 expiry=30
      20 s      > REQUEST unicast 192.0.2.1
      27.5 s    ! lease-rebinding 192.0.2.50/24
                > REQUEST broadcast
      30 s      ! lease-lost 192.0.2.50/24 expired
                > DISCOVER`,
  },
  {
    name: "a lease of 136 years begins to renew after 68",
    capture: `${bound("lease=4294967294")}
      2147483647 s > REQUEST unicast 192.0.2.1
                < ACK lease=4294967294
                ! lease-renewed 192.0.2.50/24 t1=4294967294 expiry=6442450941
      4294967294 s > REQUEST unicast 192.0.2.1`,
  },
  {
    name: "a lease of 136 years ends to the second",
    capture: `${bound("lease=4294967294 t1=4294967270 t2=4294967280")}
      4294967270 s > REQUEST unicast 192.0.2.1
      4294967280 s ! lease-rebinding 192.0.2.50/24
                > REQUEST broadcast
      4294967290 s > REQUEST broadcast
      4294967294 s ! lease-lost 192.0.2.50/24 expired
                > DISCOVER 50=192.0.2.50`,
  },
  {
    name: "an infinite lease waits for nothing, and a renewal that nobody answers leaves it alone",
    capture: `${bound("lease=4294967295 t1=100 t2=200")}
      1000000000 s * nothing ever
                * renew
                > REQUEST unicast 192.0.2.1
      1000000060 s * nothing ever
      1000000100 s * renew
                > REQUEST unicast 192.0.2.1
                < ACK lease=20
                ! lease-renewed 192.0.2.50/24 expiry=1000000120`,
  },
];

const ANSWERS: readonly Timeline[] = [
  {
    name: "counts from the request that was answered, and only the last one can be",
    capture: `${bound()}
      1800 s    > REQUEST unicast 192.0.2.1
      2475 s    > REQUEST unicast 192.0.2.1
      2500 s    < ACK to=3
                ! ignored wrong-xid
                < ACK
                ! lease-renewed 192.0.2.50/24 age=25 t1=4275 expiry=6075
                < ACK
                ! ignored not-expected
      4275 s    > REQUEST unicast 192.0.2.1`,
  },
  {
    name: "while renewing only the leasing server counts, while rebinding any",
    capture: `${bound("t1=300 t2=310")}
      300 s     > REQUEST unicast 192.0.2.1
                < ACK server=192.0.2.2
                ! ignored wrong-server
                < NAK server=192.0.2.2
                ! ignored wrong-server
      310 s     ! lease-rebinding 192.0.2.50/24 from=192.0.2.1
                > REQUEST broadcast
      320 s     < ACK server=192.0.2.2
                ! lease-renewed 192.0.2.50/24 from=192.0.2.2 t1=2110
      2110 s    > REQUEST unicast 192.0.2.2`,
  },
  {
    name: "another address at renewal takes the place of the old one",
    capture: `${bound()}
      1800 s    > REQUEST unicast 192.0.2.1 ciaddr=192.0.2.50
                < ACK address=192.0.2.77
                ! lease-renewed 192.0.2.77/24 before=192.0.2.50
      3600 s    > REQUEST unicast 192.0.2.1 ciaddr=192.0.2.77`,
  },
  {
    name: "another prefix and gateway at renewal",
    capture: `${bound()}
      1800 s    > REQUEST unicast 192.0.2.1
                < ACK mask=255.255.255.128 router=192.0.2.9
                ! lease-renewed 192.0.2.50/25 gateway=192.0.2.9`,
  },
  {
    name: "an ACK that cannot be used is no answer: the lease lives to its end",
    capture: `${bound("t1=300 t2=310")}
      300 s     > REQUEST unicast 192.0.2.1
                < ACK lease=1
                ! ignored lease-too-short
                < ACK mask=255.0.255.0
                ! ignored mask-unusable
      310 s     ! lease-rebinding 192.0.2.50/24
                > REQUEST broadcast
                < ACK address=224.0.0.1
                ! ignored address-unusable`,
  },
  {
    name: "an operator renews: by unicast, and the lease counts from then",
    capture: `${bound()}
      100 s     * renew
                > REQUEST unicast 192.0.2.1 secs=0
                < ACK
                ! lease-renewed 192.0.2.50/24 t1=1900`,
  },
];

const ENDS: readonly Timeline[] = [
  {
    name: "a release goes out before the lease is lost, from its address",
    capture: `${bound()}
      100 s     * release
                > RELEASE unicast 192.0.2.1 ciaddr=192.0.2.50 no-50 54=192.0.2.1
                ! lease-lost 192.0.2.50/24 released
                * nothing ever`,
  },
  {
    name: "without a lease there is nothing to release",
    capture: `
      0 s       * start
                > DISCOVER
      1 s       * release
                * nothing ever`,
  },
  {
    name: "a stop sends nothing",
    capture: `${bound()}
      100 s     * stop
                ! lease-lost 192.0.2.50/24 stopped
                * nothing ever`,
  },
];

const CHECKS: readonly Timeline[] = [
  {
    name: "asks whether the lease still holds, which it does meanwhile",
    capture: `${bound()}
      100 s     * check
                > REQUEST broadcast no-ciaddr 50=192.0.2.50 no-54
                < ACK
                ! lease-renewed 192.0.2.50/24 t1=1900`,
  },
  {
    name: "unanswered, three times, leaves the lease as it was",
    capture: `${bound()}
      100 s     * check
                > REQUEST broadcast
      +4 s±1    > REQUEST broadcast
      +8 s±1    > REQUEST broadcast
      1800 s    > REQUEST unicast 192.0.2.1 ciaddr=192.0.2.50`,
  },
  {
    name: "unanswered by the servers and by the gateway, the lease is gone",
    capture: `${bound()}
      100 s     * check gateway
                > REQUEST broadcast
      +4 s±1    > REQUEST broadcast
      +8 s±1    > REQUEST broadcast
      +16 s±1   ! lease-lost 192.0.2.50/24 unconfirmed
                > DISCOVER 50=192.0.2.50`,
  },
  {
    name: "unanswered but by the gateway, the lease stays",
    capture: `${bound()}
      100 s     * check gateway
                > REQUEST broadcast
      101 s     * same-network
      +3 s±1    > REQUEST broadcast
      +8 s±1    > REQUEST broadcast
      1800 s    > REQUEST unicast 192.0.2.1`,
  },
  {
    name: "refused by any server, the lease is gone",
    capture: `${bound()}
      100 s     * check
                > REQUEST broadcast
                < NAK server=198.51.100.1
                ! lease-lost 192.0.2.50/24 refused
                > DISCOVER no-50`,
  },
  {
    name: "answered by an ACK that cannot be used, the lease stays",
    capture: `${bound()}
      100 s     * check
                > REQUEST broadcast
                < ACK lease=1
                ! ignored lease-too-short
      +4 s±1    > REQUEST broadcast
                < ACK
                ! lease-renewed 192.0.2.50/24`,
  },
  {
    name: "a moment after a request it waits until a second has passed",
    capture: `${bound()}
      0.1 s     * check
      0.2 s     * check
      1 s       > REQUEST broadcast no-ciaddr 50=192.0.2.50
                < ACK
                ! lease-renewed 192.0.2.50/24`,
  },
  {
    name: "while there is no lease yet, it looks again at once",
    capture: `
      0 s       * start
                > DISCOVER
      +4 s±1    > DISCOVER
      6 s       * check
                > DISCOVER secs=0`,
  },
];

/** The boot clock goes on in a suspend, and nobody is woken at a deadline. */
const SUSPENDS: readonly Timeline[] = [
  {
    name: "an hour: a lease of an hour is over and not used",
    capture: `${bound()}
      10 s      * suspend 1 h
                * resume
                ! lease-lost 192.0.2.50/24 expired
                > DISCOVER 50=192.0.2.50`,
  },
  {
    name: "an hour: a lease of a day is checked at once",
    capture: `${bound("lease=86400")}
      10 s      * suspend 1 h
                * resume
                > REQUEST broadcast no-ciaddr 50=192.0.2.50
                < ACK lease=86400
                ! lease-renewed 192.0.2.50/24 expiry=90010`,
  },
  {
    name: "a day: a lease of a week is checked at once, and gone when the network is another",
    capture: `${bound("lease=604800")}
      10 s      * suspend 1 d
                * resume
                > REQUEST broadcast
                < NAK
                ! lease-lost 192.0.2.50/24 refused
                > DISCOVER no-50`,
  },
  {
    name: "a day: past T1, a renewal that is overdue, and the check a second later",
    capture: `${bound("lease=129600")}
      10 s      * suspend 1 d
                * resume
                > REQUEST unicast 192.0.2.1
      86411 s   > REQUEST broadcast no-ciaddr 50=192.0.2.50
                < ACK lease=129600
                ! lease-renewed 192.0.2.50/24 expiry=216011`,
  },
  {
    name: "a day: a lease for ever is checked all the same",
    capture: `${bound("lease=4294967295")}
      10 s      * suspend 1 d
                * resume
                > REQUEST broadcast no-ciaddr 50=192.0.2.50`,
  },
  {
    name: "an hour: a packet that comes before anybody noticed finds no lease",
    capture: `${bound()}
      10 s      * suspend 1 h
                < ACK
                ! lease-lost 192.0.2.50/24 expired
                > DISCOVER
                ! ignored wrong-xid`,
  },
  {
    name: "an hour: an operator who renews before anybody noticed finds no lease",
    capture: `${bound()}
      10 s      * suspend 1 h
                * renew
                ! lease-lost 192.0.2.50/24 expired
                > DISCOVER xid=3
                > DISCOVER xid=4`,
  },
  {
    name: "an hour, in the middle of acquiring",
    capture: `
      0 s       * start
                > DISCOVER
                < OFFER
                > REQUEST
      1 s       * suspend 1 h
                * resume
                > REQUEST
                < ACK
                ! ignored lease-already-over
      +8 s±1    > REQUEST`,
  },
  {
    name: "an hour, in the middle of a back-off: that is over",
    capture: `${bound()}
      10 s      * conflict
                ! lease-lost 192.0.2.50/24 declined
                > DECLINE
      11 s      * suspend 1 h
                * resume
                > DISCOVER no-50`,
  },
];

for (const [title, timelines] of Object.entries({
  "T1, T2 and expiry": TIMERS,
  "answers to a renewal": ANSWERS,
  "release and stop": ENDS,
  "a check": CHECKS,
  "a suspend of": SUSPENDS,
})) {
  describe(title, () => {
    for (const timeline of timelines) {
      test(timeline.name, () => {
        const { got, want } = play(timeline);
        assert.equal(got, want);
      });
    }
  });
}

for (const leaseSec of [10, 11, 12, 15, 20, 30, 60, 120]) {
  test(`a lease of ${leaseSec} s is never renewed within ten seconds`, () => {
    const client = new DhcpSimulation();
    client.server = ({ type }) => ({
      type: type === "discover" ? "offer" : "ack",
      options: { 51: u32(leaseSec) },
    });
    client.start();
    client.advanceTo(600);
    const renewals = client.log.filter((line) => line.endsWith("send request to 192.0.2.1"));
    const at = renewals.map((line) => Number.parseFloat(line));
    assert.ok(at.every((sec, index) => sec - (at[index - 1] ?? 0) >= 10));
    assert.equal(renewals.length > 0, leaseSec > 10);
    assert.equal(
      client.log.some((line) => line.includes("lost")),
      leaseSec === 10,
    );
  });
}

test("a carrier that flaps costs a request a second", () => {
  const client = new DhcpSimulation();
  client.server = ({ type }) => ({ type: type === "discover" ? "offer" : "ack" });
  client.start();
  for (let turn = 1; turn <= 100; turn += 1) {
    client.advanceTo(turn / 10);
    client.deliver({ kind: "check", gatewayAsked: true });
  }
  assert.ok(client.sentAtSec.length <= 12, `${client.sentAtSec.length} packets in 10 s`);
  assert.ok(leaseOf(client.state) !== undefined);
});
