import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Admission, type Excess, type Visit } from "./admission.js";
import { ALLOWANCES, MOST_USERS } from "./api-limits.js";
import type { Peer } from "./peer-role.js";

const READER: Peer = { uid: 1_000, role: "reader" };
const ROOT: Peer = { uid: 0, role: "owner" };
const { each, all } = ALLOWANCES.reader;

/** An admission whose time the test moves. */
function admissionAt(startMs = 0) {
  const clock = { ms: startMs };
  return { clock, admission: new Admission({ nowMs: () => clock.ms }) };
}

/** Connects, and lets the time pass in which the rates allow it. */
function connectSlowly({ clock, admission }: ReturnType<typeof admissionAt>, peer: Peer) {
  clock.ms += 1_000;
  return admission.connect(peer);
}

const kindOf = (excess: Excess | undefined) => excess && `${excess.of} of ${excess.by}`;

function served(answer: { readonly visit: Visit | undefined }): Visit {
  assert.equal(answer.visit?.excess, undefined);
  assert.ok(answer.visit);
  return answer.visit;
}

test("a user gets as many connections as are allowed, and one more when one has ended", () => {
  const world = admissionAt();
  const visits = Array.from({ length: each.connections }, () =>
    served(connectSlowly(world, READER)),
  );
  const { visit, excess } = connectSlowly(world, READER);
  assert.deepEqual(excess, {
    of: "connections",
    by: "user",
    uid: 1_000,
    role: "reader",
    limit: each.connections,
  });
  // It is let in to be told, and nothing else.
  assert.deepEqual(visit?.beginCall(1), excess);
  visits[0]?.leave();
  served(connectSlowly(world, READER));
});

test("readers who take all there is take nothing from root and admins", () => {
  const world = admissionAt();
  for (let n = 0; n < all.connections; n += 1) {
    const uid = 2_000 + Math.floor(n / each.connections);
    served(connectSlowly(world, { uid, role: "reader" }));
  }
  assert.equal(kindOf(connectSlowly(world, READER).excess), "connections of all");
  served(connectSlowly(world, ROOT));
  served(connectSlowly(world, { uid: 1_000, role: "admin" }));
});

test("who connects too often is refused, and told so only a few times", () => {
  const { admission } = admissionAt();
  const answers = Array.from({ length: 10_000 }, () => {
    const answer = admission.connect(READER);
    answer.visit?.leave();
    return answer;
  });
  const isServed = ({ visit, excess }: (typeof answers)[number]) => visit && !excess;
  assert.equal(answers.filter(isServed).length, each.connects.burst);
  const told = answers.filter(({ visit, excess }) => visit && excess).length;
  assert.equal(told, ALLOWANCES.refused.each.connects.burst);
  assert.equal(kindOf(answers.at(-1)?.excess), "connects of user");
});

test("the rate comes back with time, and never more than the burst", () => {
  const { clock, admission } = admissionAt();
  const burst = () => {
    let count = 0;
    for (;;) {
      const { visit, excess } = admission.connect(READER);
      visit?.leave();
      if (excess !== undefined) return count;
      count += 1;
    }
  };
  assert.equal(burst(), each.connects.burst);
  clock.ms += 500;
  assert.equal(burst(), each.connects.perSec / 2);
  clock.ms += 3_600_000;
  assert.equal(burst(), each.connects.burst);
});

test("calls are counted while they are open, and their rate by what they cost", () => {
  const world = admissionAt();
  const visit = served(connectSlowly(world, READER));
  for (let n = 0; n < each.openCalls; n += 1) assert.equal(visit.beginCall(0), undefined);
  assert.equal(kindOf(visit.beginCall(0)), "open-calls of user");
  for (let n = 0; n < each.openCalls; n += 1) visit.endCall();
  world.clock.ms += 10_000;
  let many = 0;
  while (visit.beginCall(1_000) === undefined) {
    visit.endCall();
    many += 1;
  }
  // A status of 1,000 links costs as much as 16 of a few.
  assert.ok(many >= each.calls.burst / 20 && many <= each.calls.burst / 15, String(many));
  world.clock.ms += 3_600_000;
  // However many links there are, a user that has been quiet may ask.
  assert.equal(visit.beginCall(1_000_000), undefined);
});

test("what a reader sends is limited, of root it is not", () => {
  const world = admissionAt();
  const reader = served(connectSlowly(world, READER));
  const root = served(connectSlowly(world, ROOT));
  assert.deepEqual([reader.isMetered, root.isMetered], [true, false]);
  assert.equal(reader.takeBytes(each.bytes.burst), true);
  assert.equal(reader.takeBytes(1), false);
  assert.equal(root.takeBytes(2 ** 40), true);
  assert.equal(root.takeBytes(2 ** 40), true);
});

test("one that has used up its own share takes nothing from what all have", () => {
  const { admission } = admissionAt();
  for (let n = 0; n < 10_000; n += 1) admission.connect(READER).visit?.leave();
  const others = Array.from({ length: all.connects.burst - each.connects.burst }, (_, n) =>
    admission.connect({ uid: 3_000 + n, role: "reader" }),
  );
  for (const { visit, excess } of others) {
    assert.equal(kindOf(excess), undefined);
    visit?.leave();
  }
});

test("thousands of users are forgotten, but none that is connected", () => {
  const world = admissionAt();
  const first = Array.from({ length: each.connections }, () =>
    served(connectSlowly(world, READER)),
  );
  for (let uid = 0; uid < 3 * MOST_USERS; uid += 1) {
    connectSlowly(world, { uid: 5_000 + uid, role: "reader" }).visit?.leave();
  }
  assert.equal(kindOf(connectSlowly(world, READER).excess), "connections of user");
  for (const visit of first) visit.leave();
  served(connectSlowly(world, READER));
});

type Step =
  | { readonly kind: "connect"; readonly peer: Peer }
  | { readonly kind: "leave"; readonly at: number }
  | { readonly kind: "wait"; readonly ms: number };

const PEERS = fc.record({
  uid: fc.integer({ min: 0, max: 1 }),
  role: fc.constantFrom("reader" as const, "reader" as const, "admin" as const),
});
const STEPS: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("connect" as const), peer: PEERS }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("leave" as const), at: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(5_000) }) },
  ),
  { minLength: 200, maxLength: 600, size: "max" },
);

/** Those who are in, and how many of a kind were in at most, as a share of what is allowed. */
class Crowd {
  readonly #world = admissionAt();
  readonly #inside: { readonly standing: string; readonly visit: Visit }[] = [];

  take(step: Step): void {
    const { clock, admission } = this.#world;
    if (step.kind === "wait") {
      clock.ms += step.ms;
    } else if (step.kind === "leave") {
      const [gone] = this.#inside.splice(step.at % (this.#inside.length || 1), 1);
      gone?.visit.leave();
    } else {
      this.#arrive(step.peer, admission.connect(step.peer));
    }
  }

  #arrive({ uid, role }: Peer, { visit, excess }: ReturnType<Admission["connect"]>): void {
    if (visit === undefined) return;
    const kind = excess === undefined ? role : "refused";
    const standing = `${kind} ${uid}`;
    this.#inside.push({ standing, visit });
    const count = this.#inside.filter((other) => other.standing === standing).length;
    assert.ok(count <= ALLOWANCES[kind].each.connections, `${count} ${standing}`);
  }

  /** When all have gone, everybody may come. */
  assertOpen(): void {
    for (const { visit } of this.#inside) visit.leave();
    this.#world.clock.ms += 60_000;
    for (let uid = 0; uid <= 1; uid += 1) {
      served(this.#world.admission.connect({ uid, role: "reader" }));
    }
  }
}

test("whatever comes and goes, no more are in than are allowed, and all may come in the end", () => {
  fc.assert(
    fc.property(STEPS, (steps) => {
      const crowd = new Crowd();
      for (const step of steps) crowd.take(step);
      crowd.assertOpen();
    }),
    { numRuns: 100 },
  );
});
