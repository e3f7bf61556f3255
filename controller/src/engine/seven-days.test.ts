import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { formatIpv4, type Ifindex, type Ipv4, ipv4FromUint32 } from "@mnm/proto/net";
import { MNM_PROTOCOL } from "../reconcile/index.js";
import { EngineSimulation, makeWorld, type World } from "../testing/engine-simulation.js";
import { LeaseListener } from "../testing/lease-listener.js";
import { makeLink } from "../testing/make.js";
import type { EngineEffect, HostStatus } from "./index.js";

const LINKS = 100;
const LEASE_SEC = 28_800;
const SEC = 1000;
const MIN = 60 * SEC;
const HOUR = 60 * MIN;
const DAY = 24 * HOUR;
/** Between two incidents, on average. */
const PAUSE = 35 * MIN;

const NO_CARRIER = { carrier: false, operstate: "down" } as const;
const CARRIER = { carrier: true, operstate: "up" } as const;

/** mulberry32: the same week every time. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The most messages of one link in any minute. */
class PacketRate {
  most = 0;
  total = 0;
  readonly #recent = new Map<number, number[]>();

  count(n: number, now: number): void {
    const recent = (this.#recent.get(n) ?? []).filter((at) => at > now - MIN);
    recent.push(now);
    this.#recent.set(n, recent);
    this.most = Math.max(this.most, recent.length);
    this.total += 1;
  }
}

/** A host with a hundred links, and what befalls it. */
class Week {
  readonly world: World;
  readonly dhcp = new PacketRate();
  readonly arp = new PacketRate();
  readonly happened = new Map<string, number>();
  readonly contradictions: string[] = [];
  readonly heard = new Map<string, number>();
  settles = 0;
  readonly #random = randomFrom(20_260_801);
  readonly #moved = new Map<number, number>();
  /** Incidents that are still to end, by when they do. */
  readonly #ends: { readonly at: number; readonly act: () => void }[] = [];
  #listener = new LeaseListener();
  #simulation: EngineSimulation;
  #isHelperHere = true;
  /** Until then the kernel may hold what is on its way out. */
  #calmFrom = 0;

  constructor() {
    const links = Array.from({ length: LINKS }, (_, index) => index + 1);
    const addressOf = (n: number) =>
      ipv4FromUint32(0x0a000064 + n * 256 + (this.#moved.get(n) ?? 0));
    this.world = { ...makeWorld(links), addressOf, leaseSec: LEASE_SEC };
    this.#simulation = this.#start();
  }

  get status(): HostStatus {
    return this.#simulation.status;
  }

  /** A day of incidents, and then everything works again. */
  day(until: number): void {
    const { world } = this;
    for (;;) {
      const pause = -Math.log(1 - this.#random()) * PAUSE;
      if (world.now + pause >= until - 2 * HOUR) break;
      this.#advanceTo(world.now + pause);
      this.#befall();
    }
    for (const { act } of this.#ends.splice(0)) act();
    // Back-off is half an hour at most, and a suspend may have gone past the end of the day.
    this.#advanceTo(Math.max(until - MIN, world.now + HOUR));
    // Who has not noticed yet that the server gives out another address does now.
    for (const { link } of this.status.links) {
      const request = { kind: "renew", link: link.name } as const;
      this.#simulation.post({ kind: "request", id: link.ifindex, request });
    }
    this.#advanceTo(world.now + MIN);
    this.#forget();
  }

  #start(): EngineSimulation {
    this.#listener = new LeaseListener();
    this.#calmFrom = this.world.now + 11 * SEC;
    this.#isHelperHere = true;
    return new EngineSimulation(this.world, 'links: { "wan*": {} }', {
      onEffect: (effect) => this.#follow(effect),
      onQuiet: (status) => this.#check(status()),
      auditPatienceMs: HOUR,
    });
  }

  #follow(effect: EngineEffect): void {
    this.#listener.hear(effect);
    if (effect.kind === "send-dhcp") this.dhcp.count(effect.link.ifindex, this.world.now);
    if (effect.kind === "send-arp") this.arp.count(effect.link.ifindex, this.world.now);
  }

  /** What must hold whenever the engine rests. */
  #check(status: HostStatus): void {
    this.settles += 1;
    this.#listener.compare(status, ({ managed }) => {
      const terms = managed?.lease?.terms;
      return terms === undefined ? "" : `${formatIpv4(terms.address)}/${terms.prefixLength}`;
    });
    const { contradictions } = this.#listener;
    if (this.#isHelperHere && this.world.now >= this.#calmFrom) {
      contradictions.push(...this.#misplaced(status));
    }
    for (const text of contradictions.splice(0)) {
      this.contradictions.push(`${this.world.now / 1000} s: ${text}`);
    }
  }

  /** Addresses of ours in the kernel that are no leases, and the other way round. */
  #misplaced({ links }: HostStatus): readonly string[] {
    const text = (ifindex: Ifindex, address: Ipv4, length: number) =>
      `${formatIpv4(address)}/${length} on ${ifindex}`;
    const leased = new Set(
      links.flatMap(({ link, managed }): string[] => {
        const terms = managed?.lease?.terms;
        return terms === undefined ? [] : [text(link.ifindex, terms.address, terms.prefixLength)];
      }),
    );
    const placed = new Set(
      [...this.world.kernel.model.addresses.values()]
        .filter(({ protocol }) => protocol === MNM_PROTOCOL)
        .map(({ ifindex, address, length }) => text(ifindex, address, length)),
    );
    return [
      ...[...placed].filter((key) => !leased.has(key)).map((key) => `${key} is no lease`),
      ...[...leased].filter((key) => !placed.has(key)).map((key) => `${key} is not in place`),
    ];
  }

  #advanceTo(until: number): void {
    const { world } = this;
    for (;;) {
      const [next] = this.#ends;
      if (next === undefined || next.at > until) break;
      this.#ends.shift();
      this.#simulation.advance(Math.max(0, next.at - world.now));
      next.act();
    }
    this.#simulation.advance(Math.max(0, until - world.now));
  }

  #later(ms: number, act: () => void): void {
    this.#ends.push({ at: this.world.now + ms, act });
    this.#ends.sort((a, b) => a.at - b.at);
  }

  /** From `least` to `most`, short ones as often as long ones. */
  #duration(least: number, most: number): number {
    return least * (most / least) ** this.#random();
  }

  #befall(): void {
    // A switch, a modem, or all of it.
    const size = 1 + Math.floor(this.#random() ** 2 * 8);
    const first = 1 + Math.floor(this.#random() * (LINKS - size));
    const links = Array.from({ length: size }, (_, index) => first + index);
    const names = Object.keys(this.#incidents);
    const name = names[Math.floor(this.#random() * names.length)] ?? "";
    this.happened.set(name, (this.happened.get(name) ?? 0) + 1);
    this.#incidents[name]?.(links);
  }

  readonly #incidents: Readonly<Record<string, (links: readonly number[]) => void>> = {
    flap: (links) => this.#unplug(links, this.#duration(200, 2_900)),
    cut: (links) => this.#unplug(links, this.#duration(4 * SEC, 2 * HOUR)),
    outage: (links) => {
      for (const n of links) this.world.silentServers.add(n);
      this.#later(this.#duration(HOUR, 20 * HOUR), () => {
        for (const n of links) this.world.silentServers.delete(n);
      });
    },
    refusal: (links) => {
      for (const n of links) this.world.refusingServers.add(n);
      this.#later(this.#duration(10 * SEC, HOUR), () => {
        for (const n of links) this.world.refusingServers.delete(n);
      });
      this.#unplug(links, this.#duration(SEC, 10 * SEC));
    },
    move: (links) => {
      for (const n of links) this.#moved.set(n, ((this.#moved.get(n) ?? 0) + 1) % 10);
      if (this.#random() < 0.5) this.#unplug(links, this.#duration(SEC, MIN));
    },
    "pulled out": (links) => this.#remove(links, this.#duration(SEC, HOUR)),
    "helper restart": () => {
      if (!this.#isHelperHere) return;
      this.#isHelperHere = false;
      this.#simulation.post({ kind: "helper-lost", text: "gone" });
      this.#later(this.#duration(100, 10 * MIN), () => this.#returnHelper());
    },
    "controller restart": () => {
      this.#simulation = this.#start();
    },
    suspend: () => this.#simulation.suspend(Math.round(this.#duration(10 * MIN, 10 * HOUR))),
    "wall clock": () => {
      this.world.wallStepMs += (this.#random() < 0.5 ? -365 : 365) * DAY;
    },
    theft: () => {
      const { rules } = this.world.kernel.model;
      const ours = [...rules.values()].filter(({ protocol }) => protocol === MNM_PROTOCOL);
      const rule = ours[Math.floor(this.#random() * ours.length)];
      if (rule !== undefined) this.#simulation.notify({ kind: "rule-gone", rule });
      this.#calmFrom = Math.max(this.#calmFrom, this.world.now + SEC);
    },
    overrun: () => this.#simulation.post({ kind: "overrun", text: "ENOBUFS" }),
  };

  #unplug(links: readonly number[], ms: number): void {
    for (const n of links) this.#change(n, NO_CARRIER);
    this.#later(ms, () => {
      for (const n of links) this.#change(n, CARRIER);
    });
  }

  #change(n: number, change: typeof CARRIER | typeof NO_CARRIER): void {
    if (this.world.kernel.model.links.has(makeLink(n).ifindex)) {
      this.#simulation.changeLink(n, change);
    }
  }

  #remove(links: readonly number[], ms: number): void {
    const present = links.filter((n) => this.world.kernel.model.links.has(makeLink(n).ifindex));
    for (const n of present) {
      this.#simulation.notify({ kind: "link-gone", ifindex: makeLink(n).ifindex });
    }
    this.#later(ms, () => {
      for (const n of present) this.#simulation.notify({ kind: "link", link: makeLink(n) });
    });
  }

  #returnHelper(): void {
    this.#isHelperHere = true;
    this.#calmFrom = Math.max(this.#calmFrom, this.world.now + SEC);
    this.#simulation.post({ kind: "helper-ready", helper: { version: "0", capabilities: [] } });
  }

  /** Drops what the simulation keeps for tests that look back, so that the heap is the engine's. */
  #forget(): void {
    for (const [kind, count] of this.#listener.heard) {
      this.heard.set(kind, (this.heard.get(kind) ?? 0) + count);
    }
    this.#listener.heard.clear();
    this.#simulation.events.length = 0;
    this.#simulation.replies.length = 0;
    this.#simulation.unicasts.length = 0;
    this.world.kernel.log.length = 0;
  }
}

/** What a start from nothing gives, with the addresses that the servers give out now. */
function freshKernel({ addressOf, leaseSec }: World): readonly string[] {
  const links = Array.from({ length: LINKS }, (_, index) => index + 1);
  const fresh = { ...makeWorld(links), addressOf, leaseSec };
  new EngineSimulation(fresh);
  return fresh.kernel.ours;
}

function heapAfterCollection(): number {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect === "function") collect();
  return process.memoryUsage().heapUsed;
}

test("seven days with a hundred links, and everything that can go wrong", (t) => {
  const week = new Week();
  const heap: number[] = [];
  for (let day = 1; day <= 7; day += 1) {
    week.day(day * DAY);
    const { links } = week.status;
    assert.equal(links.filter(({ state }) => state === "usable").length, LINKS, `day ${day}`);
    assert.deepEqual(week.world.kernel.ours, freshKernel(week.world), `day ${day}`);
    for (const { managed, addresses } of links) {
      const timers = managed?.lease?.timers;
      assert.ok(timers?.kind === "finite" && timers.expiry > week.world.now);
      assert.deepEqual(
        addresses.map(({ expiry }) => Math.abs((expiry ?? 0) - timers.expiry) <= 3 * SEC),
        [true],
      );
    }
    heap.push(heapAfterCollection());
  }
  assert.deepEqual(week.contradictions.slice(0, 10), []);
  const count = (kind: string) => week.heard.get(kind) ?? 0;
  t.diagnostic(JSON.stringify(Object.fromEntries(week.happened)));
  t.diagnostic(JSON.stringify(Object.fromEntries(week.heard)));
  t.diagnostic(
    `${week.settles} settles, ${week.dhcp.total} DHCP and ${week.arp.total} ARP packets`,
  );
  t.diagnostic(`busiest minute of a link: ${week.dhcp.most} DHCP, ${week.arp.most} ARP`);
  t.diagnostic(`heap after each day, MB: ${heap.map((bytes) => (bytes / 1e6).toFixed(2))}`);
  assert.ok(week.dhcp.most <= 12 && week.arp.most <= 20);
  const [first = 0] = heap;
  assert.ok((heap.at(-1) ?? 0) - first < 3e6, "a week must not cost memory");
  for (const kind of ["lease-bound", "lease-renewed", "lease-expired", "lease-refused"]) {
    assert.ok(count(kind) > 10, `${count(kind)} ${kind}`);
  }
});
