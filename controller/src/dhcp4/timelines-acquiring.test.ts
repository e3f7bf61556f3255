import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { bound, play, type Timeline } from "../testing/dhcp4-timeline.js";

const ACQUIRING: readonly Timeline[] = [
  {
    name: "takes the first offer, and counts from its request",
    capture: `
      0 s     * start
              > DISCOVER broadcast secs=0 no-ciaddr no-50 no-54 no-80
      1 s     < OFFER
              > REQUEST broadcast xid=1 secs=0 no-ciaddr 50=192.0.2.50 54=192.0.2.1 no-80
      2 s     < ACK
              ! lease-bound 192.0.2.50/24 from=192.0.2.1 t1=1801 t2=3151 expiry=3601`,
  },
  {
    name: "repeats the DISCOVER after 4, 8, 16, 32, 64, 64 seconds",
    capture: `
      0 s     * start
              > DISCOVER broadcast xid=1 secs=0
      +4 s±1  > DISCOVER broadcast xid=1 secs=changed
      +8 s±1  > DISCOVER broadcast xid=1 secs=changed
      +16 s±1 > DISCOVER broadcast xid=1 secs=changed
      +32 s±1 > DISCOVER broadcast xid=1 secs=changed
      +64 s±1 > DISCOVER broadcast xid=1 secs=changed
      +64 s±1 > DISCOVER broadcast xid=1 secs=changed
      +64 s±1 > DISCOVER broadcast xid=1 secs=changed`,
  },
  {
    name: "takes an offer that comes late, and repeats xid and secs of the DISCOVER sent last",
    capture: `
      0 s     * start
              > DISCOVER xid=1
      +4 s±1  > DISCOVER xid=1
      +8 s±1  > DISCOVER xid=1
      +3 s    < OFFER to=1
              > REQUEST xid=1 secs=unchanged`,
  },
  {
    name: "sends the REQUEST four times, then starts over, asking for the same address",
    capture: `
      0 s     * start
              > DISCOVER
              < OFFER
              > REQUEST xid=1
      +4 s±1  > REQUEST xid=1 secs=unchanged
      +8 s±1  > REQUEST xid=1 secs=unchanged
      +16 s±1 > REQUEST xid=1 secs=unchanged
      +32 s±1 > DISCOVER xid=6 secs=0 50=192.0.2.50 no-54
      +4 s±1  > DISCOVER xid=6`,
  },
  {
    name: "of two servers only the chosen one counts",
    capture: `
      0 s     * start
              > DISCOVER
              < OFFER
              > REQUEST 54=192.0.2.1
              < OFFER server=192.0.2.2
              ! ignored not-expected
              < ACK server=192.0.2.2
              ! ignored wrong-server
              < NAK server=192.0.2.2
              ! ignored wrong-server
              < ACK
              ! lease-bound 192.0.2.50/24 from=192.0.2.1`,
  },
  {
    name: "passes over offers that it could not use, and takes a better one",
    capture: `
      0 s     * start
              > DISCOVER
              < OFFER to=0
              ! ignored wrong-xid
              < OFFER lease=9
              ! ignored lease-too-short
              < OFFER address=192.0.2.255
              ! ignored address-unusable
              < OFFER lease=10
              > REQUEST 50=192.0.2.50`,
  },
  {
    name: "an ACK that comes after its lease is over brings none",
    capture: `
      0 s     * start
              > DISCOVER
              < OFFER
              > REQUEST
      +4 s±1  > REQUEST
      +8 s±1  > REQUEST
      20 s    < ACK lease=15
              ! ignored lease-already-over`,
  },
  {
    name: "an operator who is in a hurry: the next DISCOVER goes out now",
    capture: `
      0 s     * start
              > DISCOVER
      1 s     * renew
              > DISCOVER xid=2 secs=0
      +4 s±1  > DISCOVER xid=2`,
  },
];

const RAPID_COMMIT: readonly Timeline[] = [
  {
    name: "the ACK that answers a DISCOVER is a lease, from that DISCOVER on",
    config: { rapidCommit: true },
    capture: `
      0 s     * start
              > DISCOVER xid=1 80
      +4 s±1  > DISCOVER xid=2 80
      +8 s±1  > DISCOVER xid=3 80
      +1 s    < ACK rapid to=2
              ! ignored wrong-xid
      +1 s    < ACK rapid
              ! lease-bound 192.0.2.50/24 age=2`,
  },
  {
    name: "a server without it is asked as usual",
    config: { rapidCommit: true },
    capture: `
      0 s     * start
              > DISCOVER 80
              < OFFER
              > REQUEST no-80
              < ACK
              ! lease-bound 192.0.2.50/24`,
  },
  {
    name: "an ACK to a DISCOVER without option 80 is none",
    config: { rapidCommit: true },
    capture: `
      0 s     * start
              > DISCOVER 80
              < ACK
              ! ignored not-expected`,
  },
  {
    name: "where it is not configured, nobody may commit",
    capture: `
      0 s     * start
              > DISCOVER no-80
              < ACK rapid
              ! ignored rapid-commit-unasked`,
  },
];

const INIT_REBOOT: readonly Timeline[] = [
  {
    name: "the server is asked once, with option 50 and without 54",
    capture: `${bound()}
      60 s    * killed
              * start
              > REQUEST broadcast secs=0 no-ciaddr 50=192.0.2.50 no-54
      61 s    < ACK
              ! lease-bound 192.0.2.50/24 expiry=3660`,
  },
  {
    name: "a lease that nobody knows is asked for by DISCOVER",
    capture: `${bound()}
      60 s    * killed
              * start
              > REQUEST 50=192.0.2.50 no-54
      +4 s±1  > DISCOVER 50=192.0.2.50
      +4 s±1  > DISCOVER 50=192.0.2.50
              < OFFER address=192.0.2.77
              > REQUEST 50=192.0.2.77
              < ACK address=192.0.2.77
              ! lease-bound 192.0.2.77/24`,
  },
  {
    name: "a lease that is refused was never announced, and is not asked for again, nor after a restart",
    capture: `${bound()}
      60 s    * killed
              * start
              > REQUEST 50=192.0.2.50
              < NAK
              ! remembered-refused 192.0.2.50/24
              > DISCOVER no-50
      61 s    * killed
              * start
              > DISCOVER no-50`,
  },
  {
    name: "any server may refuse it: the host is in another network",
    capture: `${bound()}
      60 s    * killed
              * start
              > REQUEST 50=192.0.2.50
              < NAK server=198.51.100.1
              ! remembered-refused 192.0.2.50/24
              > DISCOVER no-50`,
  },
  {
    name: "an unusable ACK to it is declined",
    capture: `${bound()}
      60 s    * killed
              * start
              > REQUEST 50=192.0.2.50
              < ACK lease=1
              ! remembered-refused 192.0.2.50/24
              ! ignored lease-too-short
              > DECLINE 50=192.0.2.50 54=192.0.2.1
      +10..11 s > DISCOVER no-50`,
  },
  {
    name: "carrier lost and back",
    capture: `${bound()}
      60 s    * stop
              ! lease-lost 192.0.2.50/24 stopped
      70 s    * start
              > REQUEST 50=192.0.2.50 no-54
              < ACK
              ! lease-bound 192.0.2.50/24`,
  },
  {
    name: "with its address still on the link it goes on without a packet",
    capture: `${bound()}
      60 s    * killed
      100 s   * start adopts
              ! lease-bound 192.0.2.50/24 t1=1800 t2=3150 expiry=3600
      1800 s  > REQUEST unicast 192.0.2.1 ciaddr=192.0.2.50`,
  },
  {
    name: "adopted after T1 it is renewed at once",
    capture: `${bound()}
      60 s    * killed
      2000 s  * start adopts
              ! lease-bound 192.0.2.50/24
              > REQUEST unicast 192.0.2.1 ciaddr=192.0.2.50`,
  },
  {
    name: "adopted after T2 any server is asked",
    capture: `${bound()}
      60 s    * killed
      3200 s  * start adopts
              ! lease-bound 192.0.2.50/24
              ! lease-rebinding 192.0.2.50/24
              > REQUEST broadcast ciaddr=192.0.2.50`,
  },
  {
    name: "over, it is not used again, but its address is asked for",
    capture: `${bound()}
      60 s    * killed
      3600 s  * start adopts
              > DISCOVER 50=192.0.2.50`,
  },
  {
    name: "a millisecond before its end it is still used",
    capture: `${bound()}
      60 s    * killed
      3599.999 s * start adopts
              ! lease-bound 192.0.2.50/24
              ! lease-rebinding 192.0.2.50/24
              > REQUEST broadcast
      3600 s  ! lease-lost 192.0.2.50/24 expired
              > DISCOVER 50=192.0.2.50`,
  },
];

/** The lease store has both clocks; which one counts depends on whether the host was booted since. */
const CLOCKS: readonly Timeline[] = [
  ...["1 y", "-1 y"].flatMap((step): readonly Timeline[] => [
    {
      name: `the wall clock is set by ${step}: a lease in force goes on`,
      capture: `${bound()}
        10 s    * wall-clock ${step}
        1800 s  > REQUEST unicast 192.0.2.1
                < ACK
                ! lease-renewed 192.0.2.50/24 t1=3600 expiry=5400
        3600 s  > REQUEST unicast 192.0.2.1`,
    },
    {
      name: `the wall clock is set by ${step}, and we are started again: it goes on`,
      capture: `${bound()}
        10 s    * wall-clock ${step}
        20 s    * killed
        60 s    * start adopts
                ! lease-bound 192.0.2.50/24 t1=1800 expiry=3600`,
    },
    {
      name: `the wall clock is set by ${step}, and the lease ends before we are back: it is over`,
      capture: `${bound()}
        10 s    * wall-clock ${step}
        20 s    * killed
        3600 s  * start adopts
                > DISCOVER 50=192.0.2.50`,
    },
  ]),
  {
    name: "the host boots within a minute: the server is asked",
    capture: `${bound()}
      100 s   * reboot 1 min
      5 s     * start
              > REQUEST 50=192.0.2.50 no-54
              < ACK
              ! lease-bound 192.0.2.50/24 expiry=3605`,
  },
  {
    name: "the host was off for an hour: the lease is over, its address is asked for",
    capture: `${bound()}
      100 s   * reboot 1 h
      5 s     * start
              > DISCOVER 50=192.0.2.50`,
  },
  {
    name: "the host was off for an hour, and its clock is a year behind: the server is asked",
    capture: `${bound()}
      100 s   * reboot 1 h
      1 s     * wall-clock -1 y
      5 s     * start
              > REQUEST 50=192.0.2.50 no-54
              < NAK
              ! remembered-refused 192.0.2.50/24
              > DISCOVER no-50`,
  },
  {
    name: "the host boots within a minute, and its clock is a year ahead: a lease is asked for",
    capture: `${bound()}
      100 s   * reboot 1 min
      1 s     * wall-clock 1 y
      5 s     * start
              > DISCOVER 50=192.0.2.50`,
  },
  {
    name: "the host was off for a year: a lease for ever is still to be confirmed by the server",
    capture: `${bound("lease=4294967295")}
      100 s   * reboot 1 y
      5 s     * start
              > REQUEST 50=192.0.2.50 no-54`,
  },
];

for (const [title, timelines] of Object.entries({
  acquiring: ACQUIRING,
  "rapid commit": RAPID_COMMIT,
  "a remembered lease": INIT_REBOOT,
  "clocks and the lease store": CLOCKS,
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
