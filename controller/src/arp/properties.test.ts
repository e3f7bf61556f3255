import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { after, type Instant, type Ipv4, instantFromMs } from "@mnm/proto/net";
import fc from "fast-check";
import { ipv4 } from "../testing/dhcp4-server.js";
import {
  ADDRESS,
  GATEWAY,
  GATEWAY_MAC,
  GuardSimulation,
  OTHER_OWN_MAC,
  OWN_MAC,
  STRANGER_MAC,
} from "../testing/guard-simulation.js";
import {
  type ArpMessage,
  deadline,
  type GuardEffect,
  type GuardEvent,
  UNGUARDED,
} from "./index.js";

const OTHER_ADDRESS = ipv4("192.0.2.77");
const OTHER_GATEWAY = ipv4("192.0.2.254");
const OWN_MACS = new Set([OWN_MAC, OTHER_OWN_MAC]);

const ADDRESSES = fc.constantFrom(ADDRESS, ADDRESS, ADDRESS, OTHER_ADDRESS);
const GATEWAYS = fc.constantFrom(GATEWAY, GATEWAY, GATEWAY, OTHER_GATEWAY, undefined);

const CLAIM = fc.record({
  kind: fc.constant("claim" as const),
  address: ADDRESSES,
  gateway: GATEWAYS,
  mode: fc.constantFrom("optimistic" as const, "strict" as const),
});

/** What follows from the DHCP machine, which lets ten seconds pass between two leases. */
const LEASE_EVENT: fc.Arbitrary<GuardEvent> = fc.oneof(
  { weight: 6, arbitrary: CLAIM },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("adopt" as const),
      address: ADDRESSES,
      gateway: GATEWAYS,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("gateway" as const), gateway: GATEWAYS }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "confirm" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "drop" as const }) },
);

const CHECK = fc.constant<GuardEvent>({ kind: "check" });
const WAKE = fc.constant<GuardEvent>({ kind: "wake" });

const ANSWER = fc.record({
  kind: fc.constant("packet" as const),
  packet: fc.record({
    operation: fc.constant("reply" as const),
    senderMac: fc.constantFrom(GATEWAY_MAC, GATEWAY_MAC, GATEWAY_MAC, STRANGER_MAC, OTHER_OWN_MAC),
    sender: fc.constantFrom(GATEWAY, GATEWAY, OTHER_GATEWAY),
    target: fc.constant(ADDRESS),
  }),
});

/** Conflicts and probes of others, and the same from our own links. */
const DISTURBANCE = fc.record({
  kind: fc.constant("packet" as const),
  packet: fc.record({
    operation: fc.constantFrom("request" as const, "reply" as const),
    senderMac: fc.constantFrom(STRANGER_MAC, OWN_MAC, OTHER_OWN_MAC),
    sender: fc.constantFrom(ADDRESS, OTHER_ADDRESS, ipv4("0.0.0.0")),
    target: ADDRESSES,
  }),
});

/** Time passes until the machine's deadline, or a little, or long. */
const PAUSE = fc.oneof(
  { weight: 5, arbitrary: fc.constant("deadline" as const) },
  { weight: 4, arbitrary: fc.constantFrom(0, 0, 1, 50, 400, 1000, 3000) },
  { weight: 1, arbitrary: fc.constantFrom(11_000, 40_000, 400_000) },
);

const EVENT = fc.oneof(
  { weight: 2, arbitrary: LEASE_EVENT },
  { weight: 4, arbitrary: CHECK },
  { weight: 16, arbitrary: WAKE },
  { weight: 8, arbitrary: ANSWER },
  { weight: 2, arbitrary: DISTURBANCE },
);

/** Begins with a claim, and is long enough for much to follow. */
const TIMELINE = fc
  .tuple(
    CLAIM,
    fc.array(fc.record({ event: EVENT, pause: PAUSE }), {
      minLength: 30,
      maxLength: 100,
      size: "max",
    }),
  )
  .map(([event, rest]) => [{ event, pause: 0 } as const, ...rest]);

/** What somebody who only knows the events and hears the effects believes. */
class Listener {
  /** Ours now, by what was said. */
  address: Ipv4 | undefined;
  gateway: Ipv4 | undefined;
  isStrict = false;
  isClaimed = false;
  watched: readonly Ipv4[] = [];
  probes: Instant[] = [];
  conflicts: Instant[] = [];

  tell(event: GuardEvent): void {
    switch (event.kind) {
      case "claim":
      case "adopt":
        this.gateway = event.gateway;
        if (event.address === this.address) return;
        this.address = event.address;
        this.isClaimed = event.kind === "adopt";
        this.isStrict = event.kind === "claim" && event.mode === "strict";
        this.probes = [];
        this.conflicts = [];
        return;
      case "gateway":
        if (this.address !== undefined) this.gateway = event.gateway;
        return;
      case "drop":
        this.address = undefined;
        return;
      case "confirm":
      case "check":
      case "wake":
      case "packet":
        return;
    }
  }

  hear(effect: GuardEffect, event: GuardEvent, now: Instant): void {
    switch (effect.kind) {
      case "watch":
        this.watched = effect.addresses;
        return;
      case "send":
        this.hearMessage(effect.message, now);
        return;
      case "claimed":
        assert.ok(this.address !== undefined);
        assert.ok(this.probes.length >= 3, "three probes went out");
        assert.ok(now - (this.probes.at(-1) ?? 0) >= 2000, "two seconds were left to object");
        this.isClaimed = true;
        return;
      case "conflict":
        this.hearConflict(effect, event, now);
        return;
      case "same-network":
        assert.ok(event.kind === "packet" && event.packet.sender === this.gateway);
        assert.ok(!OWN_MACS.has(event.packet.senderMac));
        return;
    }
  }

  hearMessage(message: ArpMessage, now: Instant): void {
    switch (message.kind) {
      case "probe":
        assert.equal(message.target, this.address);
        this.probes.push(now);
        return;
      case "announcement":
        assert.equal(message.address, this.address);
        assert.ok(this.isClaimed, "announced before it was claimed");
        return;
      case "request":
        assert.equal(message.sender, this.address);
        assert.equal(message.gateway, this.gateway);
        assert.ok(this.isClaimed || !this.isStrict, "asked from an address that is not used yet");
        return;
    }
  }

  hearConflict(
    { address, mac, isDefended }: Extract<GuardEffect, { kind: "conflict" }>,
    event: GuardEvent,
    now: Instant,
  ): void {
    assert.equal(address, this.address);
    assert.ok(event.kind === "packet" && event.packet.senderMac === mac);
    assert.ok(!OWN_MACS.has(mac), "our own links are no conflict");
    if (isDefended) {
      assert.ok(this.isClaimed, "defended before it was claimed");
      const last = this.conflicts.at(-1);
      assert.ok(last === undefined || now - last >= 10_000, "defended twice in ten seconds");
      this.conflicts.push(now);
    } else {
      this.address = undefined;
    }
  }

  /** What must hold after every step. */
  agreeWith(guard: GuardSimulation): void {
    const { address, gateway } = this;
    assert.equal(guard.state === UNGUARDED, address === undefined);
    const isWaiting = this.isStrict && !this.isClaimed;
    assert.equal(guard.isInUse, address === undefined || !isWaiting);
    assert.equal(this.watched[0], address);
    assert.ok(this.watched.length < 2 || this.watched[1] === gateway);
    if (guard.isGatewayAsked) assert.ok(address !== undefined && gateway !== undefined);
  }
}

interface Counts {
  claimed: number;
  defended: number;
  givenUp: number;
  same: number;
}

function play(guard: GuardSimulation, event: GuardEvent, listener: Listener, counts: Counts): void {
  listener.tell(event);
  const isUse =
    event.kind === "packet" &&
    event.packet.sender === listener.address &&
    !OWN_MACS.has(event.packet.senderMac);
  const effects = guard.deliver(event);
  for (const effect of effects) {
    listener.hear(effect, event, guard.now);
    if (effect.kind === "claimed") counts.claimed += 1;
    if (effect.kind === "same-network") counts.same += 1;
    if (effect.kind === "conflict") counts[effect.isDefended ? "defended" : "givenUp"] += 1;
  }
  const isConflict = effects.some(({ kind }) => kind === "conflict");
  if (isUse) assert.ok(isConflict, "somebody else uses our address, and nobody is told");
  listener.agreeWith(guard);
}

function moveOn(guard: GuardSimulation, pause: number | "deadline"): void {
  const due = deadline(guard.state) ?? guard.now;
  const next = pause === "deadline" ? Math.max(due, guard.now) : guard.now + pause;
  guard.sleepTo(next / 1000);
}

describe("in every interleaving", () => {
  test("what is sent, watched and said agrees with whose the address is", () => {
    const counts: Counts = { claimed: 0, defended: 0, givenUp: 0, same: 0 };
    const property = fc.property(TIMELINE, fc.nat(), (timeline, seed) => {
      const guard = new GuardSimulation();
      const listener = new Listener();
      let random = seed;
      guard.randomUint32 = () => {
        random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
        return random;
      };
      for (const { event, pause } of timeline) {
        moveOn(guard, pause);
        play(guard, event, listener, counts);
      }
    });
    fc.assert(property, { numRuns: 1000, seed: 20260202 });
    // Else the property would be about guards that never get anywhere.
    const want = { claimed: 500, defended: 30, givenUp: 100, same: 100 };
    for (const kind of ["claimed", "defended", "givenUp", "same"] as const) {
      assert.ok(counts[kind] >= want[kind], `${kind}: ${counts[kind]} times`);
    }
  });

  test("a wake before the deadline changes nothing, and one at it moves the deadline", () => {
    const property = fc.property(TIMELINE, (timeline) => {
      const guard = new GuardSimulation();
      for (const { event, pause } of timeline) {
        moveOn(guard, pause);
        guard.deliver(event);
        const { state } = guard;
        const due = deadline(state);
        const effects = guard.deliver({ kind: "wake" });
        if (due === undefined || due > guard.now) {
          assert.equal(guard.state, state);
          assert.deepEqual(effects, []);
        } else {
          const next = deadline(guard.state);
          assert.ok(next === undefined || next > guard.now, "no busy loop");
        }
      }
    });
    fc.assert(property, { numRuns: 500, seed: 20260203 });
  });
});

describe("the helper's limit of 2 packets a second, 6 at once", () => {
  // Where a defence, an announcement and the beginning of probes come within 200 ms, the helper
  // refuses the last of the three probes. Two have then asked the same.
  test("is kept in every interleaving in which leases keep their distance", () => {
    let sent = 0;
    let refused = 0;
    const property = fc.property(TIMELINE, fc.nat(), (timeline, seed) => {
      const guard = new GuardSimulation();
      guard.randomUint32 = () => seed;
      const distance = new LeaseDistance();
      for (const { event, pause } of timeline) {
        moveOn(guard, pause);
        if (!distance.permits(event, guard)) continue;
        distance.hear(guard.deliver(event), guard.now);
      }
      sent += guard.messages.length;
      refused += assertOnlyThirdProbesRefused(guard);
    });
    fc.assert(property, { numRuns: 3000, seed: 20260204 });
    assert.ok(sent > 20_000, `${sent} packets`);
    assert.ok(refused <= sent / 10_000, `${refused} of ${sent} packets refused`);
  });

  const rows: readonly {
    readonly name: string;
    readonly act: (guard: GuardSimulation) => void;
    readonly most: number;
  }[] = [
    { name: "an optimistic claim", act: (guard) => guard.claim(), most: 8 },
    { name: "a strict claim", act: (guard) => guard.claim("strict"), most: 8 },
    {
      name: "a restart",
      act: (guard) => guard.deliver({ kind: "adopt", address: ADDRESS, gateway: GATEWAY }),
      most: 3,
    },
    {
      name: "a check of a silent network",
      act: (guard) => {
        guard.settle();
        guard.deliver({ kind: "check" });
      },
      // The claim's 6, then 3 probes, 2 announcements, 3 requests to one, 3 to all.
      most: 6 + 11,
    },
    { name: "a carrier that flaps 10 times a second", act: flap, most: 200 },
    {
      name: "the same, with a gateway that answers and a stranger who uses the address",
      act: (guard) => {
        flap(guard, true);
        assert.ok(guard.log.filter((line) => line.includes("defended")).length >= 5);
      },
      most: 200,
    },
    {
      name: "the same before the gateway's MAC is known",
      act: (guard) => {
        guard.claim();
        flap(guard);
      },
      most: 200,
    },
    {
      name: "the same during a strict claim",
      act: (guard) => {
        guard.claim("strict");
        flap(guard);
        assert.ok(!guard.isInUse);
      },
      most: 200,
    },
    {
      name: "a lease refused by the next network, and a new one at once",
      act: (guard) => {
        guard.claim();
        guard.advanceTo(1);
        guard.deliver({ kind: "check" });
        guard.deliver({ kind: "drop" });
        const address = OTHER_ADDRESS;
        guard.deliver({ kind: "claim", address, gateway: GATEWAY, mode: "optimistic" });
      },
      most: 3 + 8,
    },
    {
      name: "a flood of packets that use the address",
      act: (guard) => {
        guard.settle();
        for (let count = 0; count < 1000; count += 1) guard.packet({});
      },
      most: 6 + 1,
    },
    {
      name: "a flood of answers and probes",
      act: (guard) => {
        guard.settle();
        for (let count = 0; count < 1000; count += 1) {
          guard.answer();
          guard.packet({ operation: "request", sender: ipv4("0.0.0.0") });
        }
      },
      most: 6,
    },
  ];
  for (const { name, act, most } of rows) {
    test(name, () => {
      const guard = new GuardSimulation();
      act(guard);
      guard.advanceTo(guard.now / 1000 + 120);
      const sent = guard.messages.length;
      assert.ok(!guard.messages.some(({ isRefused }) => isRefused), guard.log.join("\n"));
      assert.ok(sent > 0 && sent <= most, `${sent} packets`);
    });
  }
});

function assertOnlyThirdProbesRefused({ messages, log }: GuardSimulation): number {
  let refused = 0;
  let probes = 0;
  for (const { message, isRefused } of messages) {
    if (message.kind === "probe" && !isRefused) probes += 1;
    if (message.kind === "announcement") probes = 0;
    if (!isRefused) continue;
    refused += 1;
    assert.ok(message.kind === "probe" && probes >= 2, log.join("\n"));
  }
  return refused;
}

/** Leases come ten seconds apart, ten after a conflict, and one after probing began. */
class LeaseDistance {
  #leaseFrom = instantFromMs(0);

  permits({ kind }: GuardEvent, { state, now }: GuardSimulation): boolean {
    if (kind === "check" || kind === "wake" || kind === "packet") return true;
    const probedAt = state.kind === "guarded" ? state.probedAt : undefined;
    if (now < this.#leaseFrom || (probedAt !== undefined && now < probedAt + 1000)) return false;
    this.#leaseFrom = after(now, 10_000);
    return true;
  }

  hear(effects: readonly GuardEffect[], now: Instant): void {
    const isLost = effects.some((effect) => effect.kind === "conflict" && !effect.isDefended);
    if (isLost) this.#leaseFrom = after(now, 10_000);
  }
}

/** For 100 s carrier comes back every 100 ms; after a settled claim unless one is under way. */
function flap(guard: GuardSimulation, hasCompany = false): void {
  if (guard.state === UNGUARDED) guard.settle();
  const from = guard.now / 1000;
  let contestAt = from;
  for (let turn = 1; turn <= 1000; turn += 1) {
    const sec = from + turn / 10;
    guard.advanceTo(sec);
    guard.deliver({ kind: "check" });
    if (!hasCompany || guard.state.kind === "unguarded") continue;
    guard.answer();
    if (sec < contestAt || guard.state.duty.kind === "probing") continue;
    guard.packet({});
    contestAt = sec + 10;
  }
}
