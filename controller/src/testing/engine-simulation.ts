import { type Instant, type Ipv4, ipv4FromUint32 } from "@mnm/proto/net";
import { parseConfig } from "../config/index.js";
import { Engine, type EngineEffect, type EngineEvent, type EngineReply } from "../engine/index.js";
import type { NetworkEvent } from "../events/index.js";
import type { Link } from "../link/index.js";
import { type KernelNotification, type KernelSnapshot, operationKey } from "../reconcile/index.js";
import { decodeState } from "../uplink/index.js";
import { answerOf } from "./fake-dhcp-server.js";
import { FakeKernel } from "./fake-kernel.js";
import { makeLink } from "./make.js";

/** What survives a restart of the controller: kernel, disk, and the time. */
export interface World {
  readonly kernel: FakeKernel;
  readonly leases: Map<string, unknown>;
  state: unknown;
  now: number;
  /** The address that link n's server gives out. */
  readonly addressOf: (n: number) => Ipv4;
  readonly silentServers: Set<number>;
}

export function makeWorld(links: readonly number[]): World {
  const addressOf = (n: number) => ipv4FromUint32(0x0a000064 + n * 256);
  const silentServers = new Set<number>();
  return {
    kernel: new FakeKernel(links),
    leases: new Map(),
    state: undefined,
    now: 0,
    addressOf,
    silentServers,
  };
}

const LEASE_SEC = 3600;

/** The engine in virtual time, between a fake kernel and fake DHCP servers that answer at once. */
export class EngineSimulation {
  readonly events: NetworkEvent[] = [];
  readonly replies: EngineReply[] = [];
  readonly #world: World;
  readonly #engine: Engine;
  readonly #queue: EngineEvent[] = [];

  constructor(world: World, config = 'links: { "wan*": {} }') {
    const parsed = parseConfig(config, "test.yaml");
    if (!parsed.ok) throw new SyntaxError(JSON.stringify(parsed.error));
    this.#world = world;
    let random = 0;
    this.#engine = new Engine(
      {
        randomUint32: () => {
          random += 1;
          return random;
        },
        wallMs: () => 1_700_000_000_000 + world.now,
        bootId: "boot",
        hostName: undefined,
      },
      { config: parsed.value, configFile: "test.yaml", state: decodeState(world.state) },
    );
    this.post({ kind: "wake" });
    this.post({ kind: "helper-ready", helper: { version: "0", capabilities: [] } });
  }

  get status() {
    return this.#engine.status();
  }

  /** The texts of the events of a link since the start, for reading like a diary. */
  diary(name: string): readonly string[] {
    return this.events.filter(({ link }) => link?.name === name).map(({ text }) => text);
  }

  post(event: EngineEvent): void {
    this.#queue.push(event);
    this.#run();
  }

  notify(...batch: readonly KernelNotification[]): void {
    for (const notification of batch) this.#world.kernel.notice(notification);
    this.post({ kind: "notifications", batch });
  }

  /** Changes link n as the kernel would report it. */
  changeLink(n: number, change: Partial<Link>): void {
    const current = this.#world.kernel.model.links.get(makeLink(n).ifindex) ?? makeLink(n);
    this.notify({ kind: "link", link: { ...current, ...change } });
  }

  /** Moves time on, waking the engine at each of its deadlines on the way. */
  advance(ms: number): void {
    const until = this.#world.now + ms;
    for (let rounds = 0; ; rounds += 1) {
      const due = this.#engine.deadline();
      if (due === undefined || due > until) break;
      if (rounds > 10_000) throw new Error(`The engine wants to be woken at ${due} for ever`);
      this.#world.now = Math.max(due, this.#world.now);
      this.post({ kind: "wake" });
    }
    this.#world.now = until;
  }

  #run(): void {
    const now = () => this.#world.now as Instant;
    for (let rounds = 0; ; rounds += 1) {
      if (rounds > 1_000) throw new Error("The engine does not come to rest");
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        for (const effect of this.#engine.step(next, now())) this.#perform(effect);
      }
      for (const effect of this.#engine.settle(now())) this.#perform(effect);
      if (this.#queue.length === 0) return;
    }
  }

  #perform(effect: EngineEffect): void {
    switch (effect.kind) {
      case "dump":
        this.#queue.push(
          effect.what === "everything"
            ? { kind: "snapshot", dump: effect.dump, snapshot: this.#snapshot() }
            : { kind: "routes", dump: effect.dump, routes: this.#snapshot().routes },
        );
        break;
      case "apply":
        this.#apply(effect);
        break;
      case "open-packets": {
        const results = effect.links.map(({ ifindex }) => ({ ifindex, refusal: undefined }));
        this.#queue.push({ kind: "packets-opened", results });
        break;
      }
      case "send-dhcp":
        this.#serve(effect);
        break;
      case "emit":
        this.events.push(effect.event);
        break;
      case "reply":
        this.replies.push(effect.reply);
        break;
      default:
        this.#store(effect);
    }
  }

  #store(effect: EngineEffect): void {
    const { leases } = this.#world;
    if (effect.kind === "load-lease") {
      const { identity } = effect;
      this.#queue.push({ kind: "lease-loaded", identity, record: leases.get(identity) });
    }
    if (effect.kind === "save-lease") leases.set(effect.identity, effect.record);
    if (effect.kind === "forget-lease") leases.delete(effect.identity);
    if (effect.kind === "save-state") this.#world.state = JSON.parse(JSON.stringify(effect.state));
  }

  #apply({ operations }: EngineEffect & { kind: "apply" }): void {
    const { kernel } = this.#world;
    const batch: KernelNotification[] = [];
    for (const { operation } of operations) {
      const before = kernel.model.addresses.get(operationKey(operation));
      kernel.run([operation]);
      const after = kernel.model.addresses.get(operationKey(operation));
      if (after !== undefined) batch.push({ kind: "address", address: after });
      else if (before !== undefined) batch.push({ kind: "address-gone", address: before });
    }
    if (batch.length > 0) this.#queue.push({ kind: "notifications", batch });
    this.#queue.push({ kind: "applied", results: operations.map(() => ({ kind: "done" })) });
  }

  #serve({ link, payload }: EngineEffect & { kind: "send-dhcp" }): void {
    const n = link.ifindex - 10;
    if (this.#world.silentServers.has(n)) return;
    const address = this.#world.addressOf(n);
    const serverId = ipv4FromUint32((address & 0xffffff00) + 1);
    const answer = answerOf(payload, { address, serverId, leaseSec: LEASE_SEC });
    if (answer === undefined) return;
    this.#queue.push({
      kind: "dhcp-packet",
      ifindex: link.ifindex,
      payload: answer,
      source: serverId,
    });
  }

  #snapshot(): KernelSnapshot {
    const { links, addresses, routes, rules } = this.#world.kernel.model;
    return {
      links: [...links.values()],
      addresses: [...addresses.values()],
      routes: [...routes.values()],
      rules: [...rules.values()],
      rpFilterAll: 0,
    };
  }
}
