import assert from "node:assert/strict";
import { test } from "node:test";
import { after, type Instant, instantFromMs } from "@mnm/proto/net";
import fc from "fast-check";
import {
  addresses,
  CONFIG,
  CONFLICT,
  ipv4,
  replyOf,
  SERVER,
  u32,
} from "../testing/dhcp4-server.js";
import {
  type DhcpEffect,
  type DhcpEvent,
  type DhcpState,
  deadline,
  type Lease,
  leaseOf,
  STOPPED,
  step,
} from "./index.js";

/** `expected`: the answer that the state waits for, so that timelines get to leases and keep them. */
type Move =
  | { readonly kind: "event"; readonly event: DhcpEvent }
  | { readonly kind: "start"; readonly remembered: "adopt" | "reboot" | undefined }
  | {
      readonly kind: "reply";
      readonly type: "offer" | "ack" | "nak" | "expected";
      readonly leaseSec: number;
      readonly host: number;
      readonly hasXid: boolean;
      readonly rapid: boolean;
    };

const MOVE: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("reply" as const),
      type: fc.constantFrom("expected", "expected", "expected", "offer", "ack", "nak"),
      leaseSec: fc.constantFrom(3600, 3600, 600, 600, 60, 60, 12, 10, 1, 0xffff_ffff),
      host: fc.constantFrom(50, 50, 50, 50, 50, 77, 77, 255),
      hasXid: fc.constantFrom(true, true, true, false),
      rapid: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("start" as const),
      remembered: fc.constantFrom("adopt", "reboot", undefined),
    }),
  },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom<DhcpEvent>(
        { kind: "wake" },
        { kind: "wake" },
        { kind: "renew" },
        { kind: "check", gatewayAsked: false },
        { kind: "check", gatewayAsked: true },
        { kind: "same-network" },
        CONFLICT,
        { kind: "release" },
        { kind: "stop" },
      )
      .map((event) => ({ kind: "event" as const, event })),
  },
);

/** Time passes until the machine's deadline, or a little, or long. */
const PAUSE = fc.oneof(
  fc.constantFrom("deadline" as const, "deadline" as const),
  fc.constantFrom(0, 0, 0, 1, 400, 5_000, 400_000),
);

const BEAT = fc.record({ move: MOVE, pause: PAUSE });

/** A check, and nobody says anything until the client has had its tries. */
const SILENT_CHECK = fc.boolean().map((gatewayAsked) => {
  const wake = { move: eventMove({ kind: "wake" }), pause: "deadline" } as const;
  const check = { move: eventMove({ kind: "check", gatewayAsked }), pause: 5000 };
  return [check, wake, wake, wake, wake];
});

const TIMELINE = fc
  .array(
    fc.oneof({ weight: 24, arbitrary: fc.tuple(BEAT) }, { weight: 1, arbitrary: SILENT_CHECK }),
    { minLength: 20, maxLength: 80 },
  )
  .map((beats) => beats.flat());

function eventMove(event: DhcpEvent): Move {
  return { kind: "event", event };
}

function eventOf(move: Move, state: DhcpState, old: Lease | undefined): DhcpEvent {
  switch (move.kind) {
    case "event":
      return move.event;
    case "start": {
      const { remembered } = move;
      const isKnown = remembered !== undefined && old !== undefined;
      return { kind: "start", remembered: isKnown ? { kind: remembered, lease: old } : undefined };
    }
    case "reply": {
      if (state.kind === "stopped") return { kind: "start", remembered: undefined };
      const expected = state.kind === "selecting" ? "offer" : "ack";
      const type = move.type === "expected" ? expected : move.type;
      const xid = "exchange" in state && move.hasXid ? state.exchange.xid : 1;
      const rapid = move.rapid ? { 80: new Uint8Array(0) } : {};
      const options = { 51: u32(move.leaseSec), 54: addresses("192.0.2.1"), ...rapid };
      const address = ipv4(`192.0.2.${move.host}`);
      const payload = replyOf({ type, xid, address, options });
      return { kind: "packet", payload, source: SERVER };
    }
  }
}

/** What somebody who only hears the announcements believes. */
class Listener {
  lease: Lease | undefined;
  bound = 0;
  unconfirmed = 0;
  /** Since the last check: whether the gateway was asked, and has not answered. */
  #isGatewaySilent = false;

  tell(event: DhcpEvent): void {
    if (event.kind === "check") this.#isGatewaySilent = event.gatewayAsked;
    if (event.kind === "same-network") this.#isGatewaySilent = false;
  }

  hear(effect: DhcpEffect, now: Instant): void {
    switch (effect.kind) {
      case "lease-bound":
        assert.equal(this.lease, undefined, "bound while holding a lease");
        this.lease = effect.lease;
        this.bound += 1;
        return;
      case "lease-renewed":
        assert.equal(this.lease, effect.before);
        this.lease = effect.lease;
        return;
      case "lease-rebinding":
        assert.equal(this.lease, effect.lease);
        return;
      case "lease-lost":
        assert.equal(this.lease, effect.lease);
        if (effect.reason === "expired") assert.ok(isOver(effect.lease, now));
        if (effect.reason === "unconfirmed") {
          assert.ok(this.#isGatewaySilent && !isOver(effect.lease, now));
          this.unconfirmed += 1;
        }
        this.lease = undefined;
        return;
      case "remembered-refused":
        assert.equal(this.lease, undefined);
        return;
      case "send":
      case "reply-ignored":
        return;
    }
  }
}

function contextAt(now: Instant, random: number) {
  return { now, randomUint32: () => random, config: { ...CONFIG, rapidCommit: random % 2 === 0 } };
}

test("leases announced are leases held, and never after their expiry", () => {
  let bound = 0;
  let unconfirmed = 0;
  const property = fc.property(TIMELINE, fc.nat(), (timeline, seed) => {
    const listener = new Listener();
    let state: DhcpState = STOPPED;
    let old: Lease | undefined;
    let now = instantFromMs(0);
    let random = seed;
    for (const { move, pause } of timeline) {
      now = pause === "deadline" ? (deadline(state) ?? now) : after(now, pause);
      random += 2;
      const event = eventOf(move, state, old);
      listener.tell(event);
      const next = step(state, event, contextAt(now, random));
      for (const effect of next.effects) listener.hear(effect, now);
      state = next.state;
      assert.equal(leaseOf(state), listener.lease);
      old = leaseOf(state) ?? old;
      if (event.kind === "wake" || event.kind === "packet") assertInForce(state, now);
    }
    bound += listener.bound;
    unconfirmed += listener.unconfirmed;
  });
  const numRuns = 1000;
  fc.assert(property, { numRuns, seed: 20260101 });
  // Else the property would be about machines that never do anything.
  assert.ok(bound > numRuns, `${bound} leases in ${numRuns} timelines`);
  assert.ok(unconfirmed > numRuns / 100, `${unconfirmed} leases that nobody confirmed`);
});

function assertInForce(state: DhcpState, now: Instant): void {
  const lease = leaseOf(state);
  assert.ok(lease === undefined || !isOver(lease, now), "a lease in force is not over");
}

function isOver({ timers }: Lease, now: Instant): boolean {
  return timers.kind === "finite" && timers.expiry <= now;
}

test("a wake before the deadline changes nothing, and one at it moves the deadline", () => {
  const property = fc.property(TIMELINE, (timeline) => {
    let state: DhcpState = STOPPED;
    let now = instantFromMs(0);
    let random = 1;
    for (const { move, pause } of timeline) {
      now = pause === "deadline" ? (deadline(state) ?? now) : after(now, pause);
      random += 1;
      state = step(state, eventOf(move, state, undefined), contextAt(now, random)).state;
      const due = deadline(state);
      const woken = step(state, { kind: "wake" }, contextAt(now, random));
      if (due === undefined || due > now) {
        assert.deepEqual(woken, { state, effects: [] });
      } else {
        const next = deadline(woken.state);
        assert.ok(next === undefined || next > now, "no busy loop");
        state = woken.state;
      }
    }
  });
  fc.assert(property, { numRuns: 500, seed: 20260102 });
});
