import {
  ALLOWANCES,
  type Allowance,
  callCost,
  MOST_USERS,
  type Rate,
  type Standing,
} from "./api-limits.js";
import type { Peer, Role } from "./peer-role.js";

/** What there was too much of, and whose. */
export interface Excess {
  readonly of: "connections" | "connects" | "open-calls" | "calls";
  readonly by: "user" | "all";
  readonly uid: number;
  readonly role: Role;
  /** As many, or as many a second. */
  readonly limit: number;
}

/** Who may connect and call, and how often. Counts and rates only: it knows no sockets. */
export class Admission {
  readonly #nowMs: () => number;
  /** By standing and uid, in the order in which they came. */
  readonly #users = new Map<string, Share>();
  readonly #all: Readonly<Record<Standing, Share>>;

  constructor(dependencies: { readonly nowMs: () => number }) {
    this.#nowMs = dependencies.nowMs;
    const now = this.#nowMs();
    const shareOf = (standing: Standing) => new Share(ALLOWANCES[standing].all, now);
    this.#all = {
      owner: shareOf("owner"),
      admin: shareOf("admin"),
      reader: shareOf("reader"),
      refused: shareOf("refused"),
    };
  }

  /**
   * A new connection, to be told to {@link Visit.leave}: one that is served, one that is to be told
   * why not, or none at all.
   */
  connect(peer: Peer): { readonly visit: Visit | undefined; readonly excess: Excess | undefined } {
    const visit = this.#visit(peer, peer.role);
    const excess = visit.arrive();
    if (excess === undefined) return { visit, excess };
    const told = this.#visit(peer, "refused", excess);
    return { visit: told.arrive() === undefined ? told : undefined, excess };
  }

  #visit(peer: Peer, standing: Standing, excess?: Excess): Visit {
    const key = `${standing} ${peer.uid}`;
    let share = this.#users.get(key);
    if (share === undefined) {
      this.#forgetOne();
      share = new Share(ALLOWANCES[standing].each, this.#nowMs());
      this.#users.set(key, share);
    }
    const shares = { each: share, all: this.#all[standing] };
    return new Visit({ shares, peer, nowMs: this.#nowMs }, excess);
  }

  /** What somebody with many uids may gain by being forgotten is bounded by what all have. */
  #forgetOne(): void {
    if (this.#users.size < MOST_USERS) return;
    for (const [key, share] of this.#users) {
      if (share.connections > 0) continue;
      this.#users.delete(key);
      return;
    }
  }
}

interface VisitDependencies {
  readonly shares: { readonly each: Share; readonly all: Share };
  readonly peer: Peer;
  readonly nowMs: () => number;
}

/** One connection of a user, from {@link Admission.connect} to {@link leave}. */
export class Visit {
  /** Why no call is served; undefined when they are. */
  readonly excess: Excess | undefined;
  readonly #dependencies: VisitDependencies;

  constructor(dependencies: VisitDependencies, excess: Excess | undefined) {
    this.#dependencies = dependencies;
    this.excess = excess;
  }

  /** Whether {@link takeBytes} ever refuses. */
  get isMetered(): boolean {
    return Number.isFinite(this.#dependencies.shares.each.allowance.bytes.burst);
  }

  arrive(): Excess | undefined {
    return this.#take(
      (share, now) => {
        if (share.connections >= share.allowance.connections) return "connections";
        return share.connects.has(1, now) ? undefined : "connects";
      },
      (share) => {
        share.connections += 1;
        share.connects.take(1);
      },
    );
  }

  leave(): void {
    for (const share of this.#both()) share.connections -= 1;
  }

  /** Begins a call, to be told to {@link endCall}; or why it may not be, and then it is over. */
  beginCall(links: number): Excess | undefined {
    if (this.excess !== undefined) return this.excess;
    const cost = callCost(links);
    return this.#take(
      (share, now) => {
        if (share.openCalls >= share.allowance.openCalls) return "open-calls";
        return share.calls.has(cost, now) ? undefined : "calls";
      },
      (share) => {
        share.openCalls += 1;
        share.calls.take(cost);
      },
    );
  }

  endCall(): void {
    for (const share of this.#both()) share.openCalls -= 1;
  }

  /** Whether that many bytes may be read; when not, the connection is to be cut. */
  takeBytes(count: number): boolean {
    const now = this.#dependencies.nowMs();
    const both = this.#both();
    if (!both.every((share) => share.bytes.has(count, now))) return false;
    for (const share of both) share.bytes.take(count);
    return true;
  }

  /** From both or from none: a user that has used up its own share takes nothing from the others. */
  #take(
    excessOf: (share: Share, now: number) => Excess["of"] | undefined,
    take: (share: Share) => void,
  ): Excess | undefined {
    const { shares, peer, nowMs } = this.#dependencies;
    const now = nowMs();
    for (const by of ["user", "all"] as const) {
      const share = by === "user" ? shares.each : shares.all;
      const of = excessOf(share, now);
      if (of !== undefined) return { of, by, ...peer, limit: share.limitOf(of) };
    }
    for (const share of this.#both()) take(share);
    return undefined;
  }

  #both(): readonly Share[] {
    const { each, all } = this.#dependencies.shares;
    return [each, all];
  }
}

/** An allowance and what is in use of it. */
class Share {
  readonly allowance: Allowance;
  readonly connects: Bucket;
  readonly calls: Bucket;
  readonly bytes: Bucket;
  connections = 0;
  openCalls = 0;

  constructor(allowance: Allowance, now: number) {
    this.allowance = allowance;
    this.connects = new Bucket(allowance.connects, now);
    this.calls = new Bucket(allowance.calls, now);
    this.bytes = new Bucket(allowance.bytes, now);
  }

  limitOf(what: Excess["of"]): number {
    const { connections, connects, openCalls, calls } = this.allowance;
    switch (what) {
      case "connections":
        return connections;
      case "connects":
        return connects.perSec;
      case "open-calls":
        return openCalls;
      case "calls":
        return calls.perSec;
    }
  }
}

/** Tokens that come back with time. */
class Bucket {
  readonly #rate: Rate;
  #tokens: number;
  #atMs: number;

  constructor(rate: Rate, now: number) {
    this.#rate = rate;
    this.#tokens = rate.burst;
    this.#atMs = now;
  }

  has(count: number, now: number): boolean {
    const refill = ((now - this.#atMs) / 1000) * this.#rate.perSec;
    this.#tokens = Math.min(this.#rate.burst, this.#tokens + refill);
    this.#atMs = now;
    return this.#tokens >= count;
  }

  take(count: number): void {
    this.#tokens -= count;
  }
}
