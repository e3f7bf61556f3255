// The servers that people run, from the first DISCOVER to the RELEASE. What was sent, when and in
// which order is read from a capture at the server's end. The kernel answers the servers' unicast
// ACKs with "port unreachable", for no socket has port 68: every server here must live with that.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { EventKind } from "@mnm/proto/network-manager";
import { captureObstacle, until } from "../lab/index.js";
import { kernelText, ours } from "./kernel-text.js";
import {
  answersOf,
  asked,
  type Expected,
  Follower,
  isBroadcast,
  isKind,
} from "./lease-follower.js";
import { assertDue } from "./moment.js";
import { Scenario } from "./scenario.js";
import { ServerSite, type SitePlan } from "./server-site.js";

interface Timeline extends SitePlan {
  readonly name: string;
  /** How the client gets to know that its server serves another prefix now. */
  readonly moves: "carrier-flap" | "expiry" | "nak-of-renewal";
}

const SHORT = { leaseSec: 20, t1Sec: 10, t2Sec: 14 };

const TIMELINES: readonly Timeline[] = [
  {
    name: "dnsmasq",
    index: 0,
    kind: "dnsmasq",
    // Its shortest lease: what it does at an expiry is in servers-unusual.test.ts.
    terms: { leaseSec: 120, t1Sec: 12, t2Sec: 18 },
    moves: "carrier-flap",
  },
  { name: "isc-dhcp-server", index: 1, kind: "isc", terms: SHORT, moves: "carrier-flap" },
  { name: "kea-dhcp4-server", index: 2, kind: "kea", terms: SHORT, moves: "expiry" },
  {
    name: "isc-dhcp-server behind isc-dhcp-relay",
    index: 3,
    kind: "isc",
    behindRelay: true,
    terms: SHORT,
    moves: "nak-of-renewal",
  },
];

describe("real servers", { skip: captureObstacle() }, () => {
  let scenario: Scenario;
  const followers: Follower[] = [];

  before(async () => {
    const sites: ServerSite[] = [];
    scenario = await Scenario.start({
      uplinks: TIMELINES.length,
      dhcp: "none",
      controller: { config: 'links:\n  "wan*": {}\non_stop: release\n' },
      prepare: async (lab) => {
        for (const plan of TIMELINES) sites.push(await ServerSite.build(lab, plan));
      },
    });
    followers.push(...sites.map((site) => new Follower(scenario, site)));
  });
  after(() => scenario[Symbol.asyncDispose]());

  describe("all at the same time", { concurrency: true }, () => {
    for (const timeline of TIMELINES) {
      describe(timeline.name, { concurrency: 1 }, () => {
        follow(timeline, () => {
          const follower = followers[timeline.index];
          assert.ok(follower !== undefined);
          return follower;
        });
      });
    }
  });

  test("on_stop: release gives every lease back, by unicast from its own link", async () => {
    const { code } = await scenario.controller.stop();
    assert.equal(code, 0);
    for (const follower of followers) {
      const { site, address } = follower;
      const release = await follower.next("release", isKind("release"));
      assert.equal(release.fromMac, site.mac);
      assert.ok(site.capture.since(follower.mark).includes(asked.release(address, site.serverId)));
      await follower.freed();
    }
    assert.deepEqual(await ours(scenario.lab.host), []);
  });
});

function follow({ kind, moves }: Timeline, followerOf: () => Follower): void {
  test("acquires a lease", async () => {
    const follower = followerOf();
    const { site } = follower;
    await follower.bound();
    const { address } = follower;
    const answers = answersOf(site);
    for (const packet of site.capture.packets.filter(({ fromMac }) => fromMac === site.mac)) {
      assert.ok(packet.checksumOk);
      assert.equal(packet.toMac, "ff:ff:ff:ff:ff:ff");
      assert.equal(packet.chaddr, site.mac);
      assert.deepEqual([packet.sourcePort, packet.destinationPort], [68, 67]);
      assert.ok(!packet.broadcastFlag);
    }
    follower.assertSequence([
      asked.discover(),
      answers.offer(address),
      asked.request(address, site.serverId),
      answers.ack(address),
    ]);
    assert.ok(address.startsWith(`${site.net}.`));
    assert.deepEqual(site.server.leased(site.mac), [address]);
    await follower.works();
  });

  test("renews at T1 by unicast", async () => {
    const follower = followerOf();
    const { site, address, t1Sec } = follower;
    const request = await follower.next("renewal", isKind("request"), t1Sec);
    const since = assertDue(request, follower.since, t1Sec);
    assert.notEqual(request.toMac, "ff:ff:ff:ff:ff:ff");
    assert.equal(request.fromMac, site.mac);
    assert.ok(request.checksumOk);
    const ack = await follower.next("ack of the renewal", isKind("ack"));
    follower.take(ack, since);
    const refusal = () => site.capture.unreachables.some(({ source }) => source === address);
    await until(refusal, { timeoutMs: 10_000, what: "the kernel's word on port 68" });
    // Killed at once, so that a relay's copy of the ACK, if any, is the last that is heard of it.
    await site.server.stop();
    follower.assertSequence([
      asked.renew(address, site.serverId),
      answersOf(site).ackOfRenewal(address),
    ]);
  });

  const untilThen = kind === "dnsmasq" ? "until rebinding" : "beyond the expiry";
  test(`goes on when the server was away ${untilThen}`, async () => {
    const follower = followerOf();
    const { site, address, since, t1Sec, t2Sec, leaseSec, scenario } = follower;
    const answers = answersOf(site);
    const events = scenario.log.events.length;
    const renewal = await follower.next("unicast request", isKind("request"), t1Sec);
    assertDue(renewal, since, t1Sec);
    if (kind === "dnsmasq") await site.start();
    const rebinding = await follower.next("broadcast request", isBroadcast, t2Sec - t1Sec);
    const rebindingSince = assertDue(rebinding, since, t2Sec);
    await follower.event(EventKind.LEASE_REBINDING, events);
    if (kind === "dnsmasq") {
      follower.take(await follower.next("ack", isKind("ack")), rebindingSince);
      follower.assertSequence([
        asked.renew(address, site.serverId),
        asked.rebind(address),
        answers.ack(address),
      ]);
      return await follower.works();
    }
    const discover = await follower.next("discover", isKind("discover"), leaseSec - t2Sec);
    assertDue(discover, since, leaseSec);
    await follower.gone(address);
    await follower.event(EventKind.LEASE_EXPIRED, events);
    await site.start();
    await follower.bound();
    const [, again] = site.capture.packets.slice(follower.mark).filter(isKind("discover"));
    assert.ok(again !== undefined && again.at - discover.at >= 3000, "back-off of 4 s ± 1 s");
    follower.assertSequence([
      asked.renew(address, site.serverId),
      asked.rebind(address),
      asked.discover(address),
      answers.offer(address),
      asked.request(address, site.serverId),
      answers.ack(address),
    ]);
    await follower.works();
  });

  test("takes the NAK of a server that forgot it and gave its address away", async () => {
    const follower = followerOf();
    const { site, address: old, scenario } = follower;
    const answers = answersOf(site);
    const events = scenario.log.events.length;
    await site.server.stop();
    site.server.giveAway(old);
    await site.start();
    assert.equal((await scenario.lab.mnmctl("renew", site.link)).code, 0);
    await follower.bound();
    const { address } = follower;
    assert.notEqual(address, old);
    follower.assertSequence([
      asked.renew(old, site.serverId),
      answers.nak(old),
      asked.discover(),
      answers.offer(address),
      asked.request(address, site.serverId),
      answers.ack(address),
    ]);
    await follower.event(EventKind.LEASE_REFUSED, events);
    await follower.gone(`${old} `);
    await follower.works();
    assert.deepEqual(site.server.leased(site.mac), [address]);
  });

  test("ends on the other prefix when the server moves there", async () => {
    const follower = followerOf();
    const { site, address: old, since, leaseSec, t2Sec } = follower;
    const { net: oldNet, serverId: oldServer } = site;
    await site.moveTo(`10.${100 + site.plan.index}.0`);
    const opening: Expected[] = [];
    switch (moves) {
      case "carrier-flap":
        await site.flapCarrier();
        opening.push(asked.reboot(old), answersOf(site).nak(old), asked.discover());
        break;
      case "nak-of-renewal":
        opening.push(asked.renew(old, oldServer), answersOf(site).nak(old), asked.discover());
        break;
      case "expiry": {
        // Kea says nothing to a request for an address that is in none of its pools. Unicast ones
        // still leave for as long as the kernel remembers the old server's MAC.
        const rebinding = await follower.next("broadcast request", isBroadcast, t2Sec);
        assertDue(rebinding, since, t2Sec);
        follower.mark = site.capture.packets.indexOf(rebinding);
        opening.push(asked.rebind(old), asked.discover(old));
        break;
      }
    }
    await follower.bound(leaseSec);
    const { address } = follower;
    const answers = answersOf(site);
    follower.assertSequence([
      ...opening,
      answers.offer(address),
      asked.request(address, site.serverId),
      answers.ack(address),
    ]);
    assert.ok(address.startsWith(`${site.net}.`));
    await follower.gone(`${oldNet}.`);
    await follower.works();
    const { routes } = await kernelText(follower.scenario.lab.host);
    const route = `default via ${site.gateway} dev ${site.link} table `;
    assert.ok(
      routes.some((line) => line.startsWith(route)),
      routes.join("\n"),
    );
  });

  test("gives the lease back when told, and asks for one when told", async () => {
    const follower = followerOf();
    const { site, address: old, scenario } = follower;
    const { serverId } = site;
    const answers = answersOf(site);
    assert.equal((await scenario.lab.mnmctl("release", site.link)).code, 0);
    const release = await follower.next("release", isKind("release"));
    assert.equal(release.fromMac, site.mac);
    await follower.gone(`${old} `);
    await follower.freed();
    assert.equal((await scenario.lab.mnmctl("reconnect", site.link)).code, 0);
    await follower.bound();
    const { address } = follower;
    follower.assertSequence([
      asked.release(old, serverId),
      asked.discover(),
      answers.offer(address),
      asked.request(address, serverId),
      answers.ack(address),
    ]);
    await follower.works();
  });
}
