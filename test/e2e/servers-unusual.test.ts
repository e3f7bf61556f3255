// Servers that are set up in ways that are allowed, and that clients have stumbled over.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { EventKind } from "@mnm/proto/network-manager";
import { captureObstacle, type Lab, RealServer } from "../lab/index.js";
import { kernelText } from "./kernel-text.js";
import { asked, type Expected, Follower, isBroadcast, isKind } from "./lease-follower.js";
import { assertDue } from "./moment.js";
import { EventLog, Scenario } from "./scenario.js";
import { ServerSite, type SitePlan } from "./server-site.js";

const SHORT = { leaseSec: 20, t1Sec: 10, t2Sec: 14 };
const SERVER_NAME = "10.1.0.254";

const BROADCASTING: SitePlan = {
  index: 0,
  kind: "dnsmasq",
  terms: { leaseSec: 120, t1Sec: 10, t2Sec: 18, extra: ["dhcp-broadcast"] },
};

const RENAMED: SitePlan = {
  index: 1,
  kind: "isc",
  terms: { ...SHORT, extra: [`server-identifier ${SERVER_NAME};`] },
};

const HOST_MASK: SitePlan = {
  index: 2,
  kind: "isc",
  linkNet: "10.2.0",
  terms: {
    ...SHORT,
    net: "10.90.2",
    gateway: "10.2.0.1",
    extra: ["option subnet-mask 255.255.255.255;"],
  },
};

const FIRST_OF_TWO: SitePlan = { index: 3, kind: "isc", terms: SHORT };
const SECOND_SERVER = "10.3.0.2";

const PLANS = [BROADCASTING, RENAMED, HOST_MASK, FIRST_OF_TWO];

describe("unusual servers", { concurrency: true, skip: captureObstacle() }, () => {
  let scenario: Scenario;
  let second: RealServer;
  const sites: ServerSite[] = [];

  before(async () => {
    scenario = await Scenario.start({ uplinks: PLANS.length, dhcp: "none", prepare });
  });
  after(() => scenario[Symbol.asyncDispose]());

  async function prepare(lab: Lab): Promise<void> {
    const [, renamed, hostMask] = lab.isps;
    await renamed?.namespace.ip("addr", "add", `${SERVER_NAME}/24`, "dev", "lan");
    await hostMask?.namespace.ip("route", "add", "10.90.2.0/24", "dev", "lan");
    const beside = await lab.addServerPlace(FIRST_OF_TWO.index, "neighbour");
    await beside.ip("addr", "add", `${SECOND_SERVER}/24`, "dev", "lan");
    second = new RealServer({ kind: "kea", namespace: beside, directory: lab.directory });
    await second.start({ net: "10.3.0", pool: [150, 160], gateway: "10.3.0.1", ...SHORT });
    for (const plan of PLANS) sites.push(await ServerSite.build(lab, plan));
  }

  function followerOf({ index }: SitePlan): Follower {
    const site = sites[index];
    assert.ok(site !== undefined);
    return new Follower(scenario, site);
  }

  /** Follows a site's client from its DISCOVER to the ACK of its first renewal. */
  async function renewed(follower: Follower, serverId: string): Promise<readonly Expected[]> {
    await follower.bound();
    const { address, since, t1Sec } = follower;
    const isRenewal = ({ ciaddr }: { readonly ciaddr: string }) => ciaddr === address;
    const renewal = await follower.next("renewal", isRenewal, t1Sec);
    assertDue(renewal, since, t1Sec);
    const { xid } = renewal;
    await follower.next("ack of it", (packet) => packet.kind === "ack" && packet.xid === xid);
    return [asked.request(address, serverId), asked.renew(address, serverId)];
  }

  test("one that answers by broadcast", async () => {
    const follower = followerOf(BROADCASTING);
    const id = "10.0.0.1";
    const [request = "", renewal = ""] = await renewed(follower, id);
    const { address } = follower;
    for (const kind of ["offer", "ack"] as const) {
      const answer = await follower.next(kind, isKind(kind));
      assert.equal(answer.toMac, "ff:ff:ff:ff:ff:ff");
    }
    const granted = `> 255.255.255.255 yiaddr ${address} server ${id}`;
    follower.assertSequence([
      asked.discover(),
      `offer ${id} ${granted}`,
      request,
      `ack ${id} ${granted}`,
      renewal,
      // With ciaddr it answers by unicast all the same.
      [`ack ${id} > ${address} yiaddr ${address} server ${id}`, `ack ${id} ${granted}`],
    ]);
    await follower.works();
  });

  test("one whose identifier is not the address that it answers from", async () => {
    const follower = followerOf(RENAMED);
    const [request = "", renewal = ""] = await renewed(follower, SERVER_NAME);
    const { address } = follower;
    const granted = `> ${address} yiaddr ${address} server ${SERVER_NAME}`;
    follower.assertSequence([
      asked.discover(),
      // What dhcpd builds as raw packets has the identifier as source, what its socket sends has not.
      `offer ${SERVER_NAME} ${granted}`,
      request,
      `ack ${SERVER_NAME} ${granted}`,
      renewal,
      `ack 10.1.0.1 ${granted}`,
    ]);
    await follower.works();
  });

  test("one that leases a single address, with a gateway outside of it", async () => {
    const follower = followerOf(HOST_MASK);
    const id = "10.2.0.1";
    const [request = "", renewal = ""] = await renewed(follower, id);
    const { address, site } = follower;
    assert.match(address, /^10\.90\.2\./);
    const [, offer] = site.capture.packets;
    assert.equal(offer?.subnetMask, "255.255.255.255");
    const granted = `> ${address} yiaddr ${address} server ${id}`;
    follower.assertSequence([
      asked.discover(),
      `offer ${id} ${granted}`,
      request,
      `ack ${id} ${granted}`,
      renewal,
      `ack ${id} ${granted}`,
    ]);
    await follower.works(32);
    const { routes } = await kernelText(scenario.lab.host);
    const table = routes.filter((line) => line.includes(" dev wan2 table "));
    assert.ok(
      table.some((line) => line.startsWith("10.2.0.1 dev wan2 ")),
      table.join("\n"),
    );
    assert.ok(
      table.some((line) => line.startsWith("default via 10.2.0.1 ")),
      table.join("\n"),
    );
  });

  test("two on one segment: one is asked, and the other when that one is dead", async () => {
    const follower = followerOf(FIRST_OF_TWO);
    const { site } = follower;
    await follower.bound();
    const { address: first } = follower;
    const request = site.capture.packets.find(isKind("request"));
    const winner = request?.serverId ?? "";
    const both = [site.server, second] as const;
    const [winning, losing] = winner === SECOND_SERVER ? both.toReversed() : both;
    assert.ok(winning !== undefined && losing !== undefined);
    const xid = request?.xid;
    const exchange = () => site.capture.packets.filter((packet) => packet.xid === xid);
    await follower.next(
      "offer of the loser",
      (packet) => packet.kind === "offer" && packet.serverId !== winner,
    );
    const said = new Set(exchange().map(({ kind, serverId = "any" }) => `${kind} ${serverId}`));
    const wanted = ["10.3.0.1", SECOND_SERVER].map((server) => `offer ${server}`);
    wanted.push("discover any", `request ${winner}`, `ack ${winner}`);
    assert.deepEqual(said, new Set(wanted));
    const { dhcp } = await scenario.link(site.link);
    assert.ok((dhcp?.counters["refused-not-expected"] ?? 0n) >= 1n);
    assert.deepEqual(winning.leased(site.mac), [first]);

    const isRenewal = ({ ciaddr }: { readonly ciaddr: string }) => ciaddr === first;
    const renewal = await follower.next("renewal", isRenewal, follower.t1Sec);
    assert.equal(renewal.destination, winner);
    await follower.next(
      "ack of it",
      (packet) => packet.kind === "ack" && packet.xid === renewal.xid,
    );
    await winning.stop();
    const events = scenario.log.events.length;
    follower.mark = site.capture.mark;
    await follower.next("broadcast request", isBroadcast, follower.t2Sec);
    await follower.bound(follower.leaseSec);
    assert.deepEqual(losing.leased(site.mac), [follower.address]);
    await follower.works();
    assert.ok(scenario.log.events.slice(events).some(({ kind }) => kind === EventKind.LEASE_BOUND));
  });

  test("dnsmasq's shortest lease expires, by a boot clock that is 110 s ahead", async () => {
    // Its leases last 120 s or more. The controller leaves with a lease and comes back in a time
    // namespace, as after a suspend of that length: to it, ten seconds are left.
    const AHEAD_SEC = 110;
    const plan: SitePlan = {
      index: 0,
      kind: "dnsmasq",
      terms: { leaseSec: 120, t1Sec: 60, t2Sec: 105 },
    };
    const sites: ServerSite[] = [];
    await using scenario = await Scenario.start({
      uplinks: 1,
      dhcp: "none",
      prepare: async (lab) => {
        sites.push(await ServerSite.build(lab, plan));
      },
    });
    const [site] = sites;
    assert.ok(site !== undefined);
    const follower = new Follower(scenario, site);
    await follower.bound();
    const { address, since, leaseSec } = follower;
    follower.mark = site.capture.mark;
    await site.server.stop();
    await scenario.controller.stop();
    const runBy = ["unshare", "--time", "--boottime", String(AHEAD_SEC)];
    scenario.controller = await scenario.lab.startController({ runBy });
    scenario.log.close();
    scenario.log = new EventLog(scenario.client);
    const discover = await follower.next("discover", isKind("discover"), leaseSec - AHEAD_SEC);
    assertDue(discover, since, leaseSec - AHEAD_SEC);
    await follower.gone(address);
    await follower.event(EventKind.LEASE_EXPIRED, 0);
    await site.start();
    await follower.bound();
    const granted = `> ${address} yiaddr ${address} server ${site.serverId}`;
    assert.equal(follower.address, address);
    follower.assertSequence([
      asked.rebind(address),
      asked.discover(address),
      `offer ${site.serverId} ${granted}`,
      asked.request(address, site.serverId),
      `ack ${site.serverId} ${granted}`,
    ]);
    await follower.works();
  });
});
