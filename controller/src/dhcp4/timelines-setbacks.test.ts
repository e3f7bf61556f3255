import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { u32 } from "../testing/dhcp4-server.js";
import { DhcpSimulation, LUCK, type Luck } from "../testing/dhcp4-simulation.js";
import { bound, play, type Timeline } from "../testing/dhcp4-timeline.js";

/** A server that offers and then refuses, or grants what cannot be used. */
const NAKED = `
              < OFFER
              > REQUEST
              < NAK`;
const UNUSABLE = `
              < OFFER
              > REQUEST
              < ACK lease=1
              ! ignored lease-too-short
              > DECLINE broadcast no-ciaddr 50=192.0.2.50 54=192.0.2.1`;
const CONFLICT = `
              < OFFER
              > REQUEST
              < ACK
              ! lease-bound 192.0.2.50/24
      +5 s    * conflict
              ! lease-lost 192.0.2.50/24 declined
              > DECLINE broadcast no-ciaddr 50=192.0.2.50 54=192.0.2.1`;

const NAKS: readonly Timeline[] = [
  {
    name: "the first costs no time, and the refused address is not asked for again",
    capture: `${bound()}
      1800 s  > REQUEST unicast 192.0.2.1
              < NAK
              ! lease-lost 192.0.2.50/24 refused
              > DISCOVER xid=4 secs=0 no-50`,
  },
  {
    name: "in a row: at once, then after 4, 8, 16, 32 s and up to a tenth more",
    capture: `
      0 s     * start
              > DISCOVER${NAKED}
              > DISCOVER no-50${NAKED}
      +4..4.4 s   > DISCOVER no-50${NAKED}
      +8..8.8 s   > DISCOVER no-50${NAKED}
      +16..17.6 s > DISCOVER no-50${NAKED}
      +32..35.2 s > DISCOVER no-50`,
  },
  {
    name: "one long after another costs no time either",
    capture: `${bound()}
      1800 s  > REQUEST unicast 192.0.2.1
              < NAK
              ! lease-lost 192.0.2.50/24 refused
              > DISCOVER
              < OFFER
              > REQUEST
              < ACK
              ! lease-bound 192.0.2.50/24
      3600 s  > REQUEST unicast 192.0.2.1
              < NAK
              ! lease-lost 192.0.2.50/24 refused
              > DISCOVER`,
  },
  {
    name: "an ACK in between does not end the row",
    capture: `${bound("lease=20")}
      10 s    > REQUEST unicast 192.0.2.1
              < NAK
              ! lease-lost 192.0.2.50/24 refused
              > DISCOVER
              < OFFER lease=20
              > REQUEST
              < ACK lease=20
              ! lease-bound 192.0.2.50/24
      20 s    > REQUEST unicast 192.0.2.1
              < NAK
              ! lease-lost 192.0.2.50/24 refused
      +4..4.4 s > DISCOVER no-50`,
  },
  {
    name: "an operator does not wait",
    capture: `
      0 s     * start
              > DISCOVER${NAKED}
              > DISCOVER${NAKED}
      1 s     * renew
              > DISCOVER no-50`,
  },
];

/** The fourth refusal in a row, at 12 s of virtual time or a tenth more; 16 s are to pass. */
const FOUR = `
      0 s     * start
              > DISCOVER${NAKED}
              > DISCOVER no-50${NAKED}
      +4..4.4 s   > DISCOVER no-50${NAKED}
      +8..8.8 s   > DISCOVER no-50${NAKED}`;

const SIGNS: readonly Timeline[] = [
  {
    name: "carrier that goes and comes does not end a row, nor its wait",
    capture: `${FOUR}
      20 s    * stop
      21 s    * start
      28..31 s    > DISCOVER no-50${NAKED}
      +32..35.2 s > DISCOVER no-50`,
  },
  {
    name: "carrier that comes back after the wait: at once, and the row goes on",
    capture: `${FOUR}
      20 s    * stop
      40 s    * start
              > DISCOVER no-50${NAKED}
      +32..35.2 s > DISCOVER no-50`,
  },
  {
    name: "a check shortens a long wait to 32 s",
    capture: `${FOUR}
      +16..17.6 s > DISCOVER no-50${NAKED}
      +32..35.2 s > DISCOVER no-50${NAKED}
      +64..70.4 s > DISCOVER no-50${NAKED}
      150 s   * check
      156..170 s > DISCOVER no-50`,
  },
  {
    name: "a check later than that asks at once",
    capture: `${FOUR}
      +16..17.6 s > DISCOVER no-50${NAKED}
      +32..35.2 s > DISCOVER no-50${NAKED}
      +64..70.4 s > DISCOVER no-50${NAKED}
      200 s   * check
              > DISCOVER no-50`,
  },
  {
    name: "what an operator gives back ends a row",
    capture: `
      0 s     * start
              > DISCOVER${NAKED}
              > DISCOVER no-50${NAKED}
      1 s     * release
              * start
              > DISCOVER no-50`,
  },
];

const DECLINES: readonly Timeline[] = [
  {
    name: "a conflict: the address goes, and is not asked for again",
    capture: `
      0 s     * start
              > DISCOVER${CONFLICT}
      +10..11 s > DISCOVER xid=4 no-50`,
  },
  {
    name: "conflicts in a row: after 10 seconds, and up to ten minutes",
    capture: `
      0 s     * start
              > DISCOVER${CONFLICT}
      +10..11 s   > DISCOVER no-50${CONFLICT}
      +20..22 s   > DISCOVER no-50${CONFLICT}
      +40..44 s   > DISCOVER no-50${CONFLICT}
      +80..88 s   > DISCOVER no-50${CONFLICT}
      +160..176 s > DISCOVER no-50${CONFLICT}
      +320..352 s > DISCOVER no-50${CONFLICT}
      +600..660 s > DISCOVER no-50${CONFLICT}
      +600..660 s > DISCOVER no-50`,
  },
  {
    name: "an ACK of less than ten seconds is declined, as the server has set the address aside",
    capture: `
      0 s     * start
              > DISCOVER${UNUSABLE}
      +10..11 s > DISCOVER no-50${UNUSABLE}
      +20..22 s > DISCOVER no-50${UNUSABLE}
      +40..44 s > DISCOVER no-50`,
  },
  {
    name: "a conflict long after another waits ten seconds again",
    capture: `
      0 s     * start
              > DISCOVER${CONFLICT}
      +10..11 s > DISCOVER
              < OFFER
              > REQUEST
              < ACK
              ! lease-bound 192.0.2.50/24
      +1000 s * conflict
              ! lease-lost 192.0.2.50/24 declined
              > DECLINE
      +10..11 s > DISCOVER`,
  },
];

for (const [title, timelines] of Object.entries({
  NAK: NAKS,
  "signs of another network": SIGNS,
  DECLINE: DECLINES,
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

/** The most messages in any minute. */
function busiestMinute({ sentAtSec }: DhcpSimulation): number {
  let first = 0;
  const counts = sentAtSec.map((at, index) => {
    while ((sentAtSec[first] ?? at) <= at - 60) first += 1;
    return index - first + 1;
  });
  return Math.max(...counts);
}

interface Storm {
  readonly what: string;
  readonly server: NonNullable<DhcpSimulation["server"]>;
  readonly packets: number;
}

/** Servers with which no lease lasts. */
const STORMS: readonly Storm[] = [
  {
    what: "every REQUEST",
    server: ({ type }) => ({ type: type === "discover" ? "offer" : "nak" }),
    packets: 10,
  },
  {
    what: "every renewal of twenty seconds that it granted",
    server: ({ type, ciaddr }) => {
      const options = { 51: u32(20) };
      if (type === "discover") return { type: "offer", options };
      return ciaddr === 0 ? { type: "ack", options } : { type: "nak" };
    },
    // In the first minute only: each round has three packets.
    packets: 12,
  },
];

for (const { what, server, packets } of STORMS) {
  for (const luck of Object.keys(LUCK) as Luck[]) {
    test(`a server that refuses ${what}, a thousand times: ${packets} packets a minute, ${luck} jitter`, () => {
      const client = new DhcpSimulation({}, 0, luck);
      let naks = 0;
      client.server = (message) => {
        const reply = server(message);
        if (reply?.type === "nak") naks += 1;
        return reply;
      };
      client.start();
      client.advanceTo(2_200_000);
      assert.ok(naks >= 1000, `${naks} NAKs`);
      assert.equal(busiestMinute(client), packets);
    });
  }
}

for (const luck of Object.keys(LUCK) as Luck[]) {
  test(`refusals while carrier flaps every 4 s for ten minutes: 10 packets a minute, ${luck} jitter`, () => {
    const client = new DhcpSimulation({}, 0, luck);
    client.server = ({ type }) => ({ type: type === "discover" ? "offer" : "nak" });
    for (let sec = 0; sec < 600; sec += 4) {
      client.start();
      client.advanceTo(sec + 2);
      client.deliver({ kind: "stop" });
      client.advanceTo(sec + 4);
    }
    assert.ok(client.sentAtSec.length >= 30, `${client.sentAtSec.length} messages`);
    assert.ok(busiestMinute(client) <= 10, `${busiestMinute(client)} in a minute`);
  });

  test(`refusals and a check every second for ten minutes: 10 packets a minute, ${luck} jitter`, () => {
    const client = new DhcpSimulation({}, 0, luck);
    client.server = ({ type }) => ({ type: type === "discover" ? "offer" : "nak" });
    client.start();
    for (let sec = 1; sec < 600; sec += 1) {
      client.advanceTo(sec);
      client.check();
    }
    assert.ok(client.sentAtSec.length >= 30, `${client.sentAtSec.length} messages`);
    assert.equal(busiestMinute(client), 10);
  });
}

test("between refusals it waits half an hour at most, and a tenth", () => {
  const client = new DhcpSimulation({}, 0, "most");
  client.server = ({ type }) => ({ type: type === "discover" ? "offer" : "nak" });
  client.start();
  client.advanceTo(2_000_000);
  const gaps = client.sentAtSec.map((at, index) => at - (client.sentAtSec[index - 1] ?? at));
  assert.equal(Math.round(Math.max(...gaps)), 1980);
});
