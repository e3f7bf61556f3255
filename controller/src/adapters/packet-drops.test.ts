import assert from "node:assert/strict";
import { test } from "node:test";
import { PacketDrops } from "./packet-drops.js";

const dhcp = (problem: string, dropped = 0, ifindex = 7) => ({
  ifindex,
  payload: Buffer.alloc(0),
  source: 0,
  problem,
  dropped,
});

const rows = [
  ["", []],
  ["ip-checksum", ["refused-checksum 1"]],
  ["udp-checksum", ["refused-checksum 1"]],
  ["truncated", ["refused-malformed 1"]],
  ["fragment", ["refused-malformed 1"]],
  ["what a newer helper says", ["refused-malformed 1"]],
] as const;
for (const [problem, want] of rows) {
  test(`an item with problem "${problem}" counts as ${want.join() || "nothing"}`, () => {
    const drops = new PacketDrops().ofDhcp(dhcp(problem));
    assert.deepEqual(
      drops.map(({ counter, count }) => `${counter} ${count}`),
      want,
    );
  });
}

test("what a port could not pass on is counted once, by stream and link, and from 0 when it was opened anew", () => {
  const drops = new PacketDrops();
  const counted = (told: ReturnType<PacketDrops["ofArp"]>) =>
    told.map(({ ifindex, counter, count }) => `${ifindex} ${counter} ${count}`).join();
  const packet = Buffer.alloc(28);
  assert.equal(counted(drops.ofDhcp(dhcp("", 70))), "7 refused-overload 70");
  assert.equal(counted(drops.ofDhcp(dhcp("", 70))), "");
  assert.equal(counted(drops.ofDhcp(dhcp("", 75))), "7 refused-overload 5");
  assert.equal(counted(drops.ofDhcp(dhcp("", 3, 8))), "8 refused-overload 3");
  assert.equal(
    counted(drops.ofArp({ ifindex: 7, packet, dropped: 70 })),
    "7 arp-refused-overload 70",
  );
  assert.equal(counted(drops.ofDhcp(dhcp("", 2))), "7 refused-overload 2");
});
