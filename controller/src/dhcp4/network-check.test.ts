import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { bound, play, type Timeline } from "../testing/dhcp4-timeline.js";

/** A check that the gateway was asked beside. Servers are waited for until 28 s after it. */
const CHECKED = `${bound()}
  100 s     * check gateway
            > REQUEST broadcast no-ciaddr 50=192.0.2.50`;

const SILENCE = `
  +4 s±1    > REQUEST broadcast
  +8 s±1    > REQUEST broadcast`;

const UNCONFIRMED = `
  +16 s±1   ! lease-lost 192.0.2.50/24 unconfirmed
            > DISCOVER broadcast 50=192.0.2.50`;

const KEPT = `
  1800 s    > REQUEST unicast 192.0.2.1 ciaddr=192.0.2.50`;

/** Whether this is still the network of the lease, by its servers and its gateway. RFC 4436. */
const TIMELINES: readonly Timeline[] = [
  {
    name: "nobody answers: the lease is lost, and its address asked for wherever this is",
    capture: `${CHECKED}${SILENCE}${UNCONFIRMED}
            < OFFER
            > REQUEST broadcast 50=192.0.2.50
            < ACK
            ! lease-bound 192.0.2.50/24`,
  },
  {
    name: "the gateway answers, no server does: the lease lives on",
    capture: `${CHECKED}
  100.1 s   * same-network
  +3.9 s±1  > REQUEST broadcast
  +8 s±1    > REQUEST broadcast${KEPT}`,
  },
  {
    name: "the gateway answers last, after the third request",
    capture: `${CHECKED}${SILENCE}
  +10 s     * same-network${KEPT}`,
  },
  {
    name: "the gateway answers, and a server knows better: terms may have changed",
    capture: `${CHECKED}
            * same-network
            < ACK address=192.0.2.77
            ! lease-renewed 192.0.2.77/24`,
  },
  {
    name: "the gateway answers, and a server refuses: that counts",
    capture: `${CHECKED}
            * same-network
            < NAK
            ! lease-lost 192.0.2.50/24 refused
            > DISCOVER no-50`,
  },
  {
    name: "a server answers, the gateway does not: that is confirmation enough",
    capture: `${CHECKED}
  +4 s±1    > REQUEST broadcast
            < ACK
            ! lease-renewed 192.0.2.50/24`,
  },
  {
    name: "the gateway was not asked: nobody's silence takes the lease",
    capture: `${bound()}
  100 s     * check
            > REQUEST broadcast${SILENCE}${KEPT}`,
  },
  {
    name: "carrier is back once more: what the gateway said before no longer counts",
    capture: `${CHECKED}
            * same-network
  100.5 s   * check gateway
  +3.5 s±1  > REQUEST broadcast
  +8 s±1    > REQUEST broadcast${UNCONFIRMED}`,
  },
  {
    name: "carrier is back once more, later: all three requests again",
    capture: `${CHECKED}
            * same-network
  102 s     * check gateway
            > REQUEST broadcast${SILENCE}${UNCONFIRMED}`,
  },
  {
    name: "the second check asks no gateway: its silence before no longer counts",
    capture: `${CHECKED}
  102 s     * check
            > REQUEST broadcast${SILENCE}${KEPT}`,
  },
  {
    name: "a check that waits a moment remembers that the gateway was asked",
    capture: `${bound()}
  0.2 s     * check gateway
  1 s       > REQUEST broadcast${SILENCE}${UNCONFIRMED}`,
  },
  {
    name: "a check that waits a moment remembers that the gateway answered",
    capture: `${bound()}
  0.2 s     * check gateway
  0.3 s     * same-network
  1 s       > REQUEST broadcast${SILENCE}${KEPT}`,
  },
  {
    name: "an operator who does not wait that moment gets the same rule",
    capture: `${bound()}
  0.2 s     * check gateway
  0.3 s     * renew
            > REQUEST broadcast${SILENCE}${UNCONFIRMED}`,
  },
  {
    name: "of two checks in that moment the second counts",
    capture: `${bound()}
  0.2 s     * check gateway
  0.3 s     * check
  1 s       > REQUEST broadcast${SILENCE}${KEPT}`,
  },
  {
    name: "an operator who renews meanwhile gets three new requests, and the same rule",
    capture: `${CHECKED}
  102 s     * renew
            > REQUEST broadcast${SILENCE}${UNCONFIRMED}`,
  },
  {
    name: "a lease that ends during the check has expired",
    capture: `${bound("lease=120")}
  59 s      * check gateway
            > REQUEST broadcast
  +4 s±1    > REQUEST broadcast
  +8 s±1    > REQUEST broadcast
  79 s      * suspend 1 h
            * wake
            ! lease-lost 192.0.2.50/24 expired
            > DISCOVER 50=192.0.2.50`,
  },
  {
    name: "past T1 the lease that lives on is renewed at once",
    capture: `${bound("lease=3600")}
  1795 s    * check gateway
            > REQUEST broadcast
            * same-network
  +4 s±1    > REQUEST broadcast
  +8 s±1    > REQUEST broadcast
  +16 s±1   > REQUEST unicast 192.0.2.1 ciaddr=192.0.2.50`,
  },
  {
    name: "the answer of a gateway makes no lease",
    capture: `
  0 s       * start
            > DISCOVER
            * same-network
            < OFFER
            > REQUEST
            * same-network
            < ACK
            ! lease-bound 192.0.2.50/24
            * same-network${KEPT}`,
  },
];

describe("a check, beside which the gateway is asked", () => {
  for (const timeline of TIMELINES) {
    test(timeline.name, () => {
      const { got, want } = play(timeline);
      assert.equal(got, want);
    });
  }
});
