import { formatIpv4, type Instant, type Ipv4, ipv4FromUint32 } from "@mnm/proto/net";
import { type Config, parseConfig } from "../config/index.js";
import {
  type Culprit,
  Engine,
  type EngineEffect,
  type EngineEvent,
  type EngineReply,
  type HostStatus,
} from "../engine/index.js";
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
  /** They offer, and then answer every REQUEST with a NAK. */
  readonly refusingServers: Set<number>;
  leaseSec: number;
  /** How far the wall clock has been set since the start. */
  wallStepMs: number;
}

export function makeWorld(links: readonly number[]): World {
  const addressOf = (n: number) => ipv4FromUint32(0x0a000064 + n * 256);
  return {
    kernel: new FakeKernel(links),
    leases: new Map(),
    state: undefined,
    now: 0,
    addressOf,
    silentServers: new Set(),
    refusingServers: new Set(),
    leaseSec: 3600,
    wallStepMs: 0,
  };
}

/** A hundred links take a thousand when they come together. */
const MOST_STEPS = 20_000;
const WALL_MS = 1_700_000_000_000;

/** What a test follows from the first moment on. */
export interface SimulationWatch {
  /** Each effect, before it is performed. */
  readonly onEffect?: (effect: EngineEffect) => void;
  /** Changes what a DHCP server answers. */
  readonly onAnswer?: (payload: Uint8Array) => Uint8Array;
  /** The engine has settled and nothing is waiting. */
  readonly onQuiet?: (status: () => HostStatus) => void;
  /**
   * How late the dump of an audit may be answered, while nothing else happens. A long simulation
   * would spend its time on audits: there are 1,440 a day.
   */
  readonly auditPatienceMs?: number;
  /** Has the engine look at every link whenever it settles, not only at those that changed. */
  readonly isThorough?: boolean;
}

/** The engine in virtual time, between a fake kernel and fake DHCP servers that answer at once. */
export class EngineSimulation {
  readonly events: NetworkEvent[] = [];
  readonly replies: EngineReply[] = [];
  /** Unicast DHCP messages: "wan1 from 10.0.1.100", and whether the kernel had that address then. */
  readonly unicasts: string[] = [];
  readonly config: Config;
  /** While set, batches are neither performed nor answered. */
  deafHelper = false;
  /** Who is behind every fight. */
  culprit: Culprit = { kind: "unknown", suspects: [] };
  /** The ports of those who were looked for. */
  readonly culpritsSought: (number | undefined)[] = [];
  hasExited = false;
  #lateDump: { readonly event: () => EngineEvent; readonly until: number } | undefined;
  readonly #world: World;
  readonly #watch: SimulationWatch;
  readonly #engine: Engine;
  readonly #queue: EngineEvent[] = [];

  constructor(world: World, config = 'links: { "wan*": {} }', watch: SimulationWatch = {}) {
    const parsed = parseConfig(config, "test.yaml");
    if (!parsed.ok) throw new SyntaxError(JSON.stringify(parsed.error));
    this.config = parsed.value;
    this.#world = world;
    this.#watch = watch;
    let random = 0;
    this.#engine = new Engine(
      {
        randomUint32: () => {
          random += 1;
          return random;
        },
        wallMs: () => WALL_MS + world.now + world.wallStepMs,
        bootId: "boot",
        hostName: undefined,
      },
      { config: parsed.value, configFile: "test.yaml", state: decodeState(world.state) },
    );
    this.post({ kind: "wake" });
    this.post({ kind: "helper-ready", helper: { version: "0", capabilities: [] } });
  }

  get status() {
    return this.#engine.status(this.#world.now as Instant);
  }

  get deadline() {
    return this.#engine.deadline();
  }

  /** The texts of the events of a link since the start, for reading like a diary. */
  diary(name: string): readonly string[] {
    return this.events.filter(({ link }) => link?.name === name).map(({ text }) => text);
  }

  post(event: EngineEvent): void {
    if (event.kind !== "wake" || this.#world.now >= (this.#lateDump?.until ?? 0))
      this.#answerDump();
    this.#queue.push(event);
    this.#run();
  }

  /** The host sleeps: the clock goes on, and nothing is woken. Then the kernel says so. */
  suspend(sleptMs: number): void {
    this.#world.now += sleptMs;
    this.post({ kind: "resumed", sleptMs });
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
      // In whole milliseconds, as the clock and the timers of the real loop are.
      this.#world.now = Math.max(Math.ceil(due), this.#world.now);
      this.post({ kind: "wake" });
    }
    this.#world.now = until;
  }

  #run(): void {
    const now = () => this.#world.now as Instant;
    let steps = 0;
    for (let rounds = 0; ; rounds += 1) {
      if (rounds > 1_000) throw new Error("The engine does not come to rest");
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        steps += 1;
        if (steps > MOST_STEPS) throw new Error("Engine and servers go on for ever");
        for (const effect of this.#engine.step(next, now())) this.#perform(effect);
      }
      this.#settle(now());
      if (this.#queue.length > 0) continue;
      this.#watch.onQuiet?.(() => this.status);
      return;
    }
  }

  #settle(now: Instant): void {
    if (this.#watch.isThorough) this.#engine.audit();
    for (const effect of this.#engine.settle(now)) this.#perform(effect);
  }

  #perform(effect: EngineEffect): void {
    this.#watch.onEffect?.(effect);
    switch (effect.kind) {
      case "dump":
        this.#dump(effect);
        break;
      case "apply":
        if (!this.deafHelper) this.#apply(effect);
        this.#answerDump();
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
      case "find-culprit":
        this.culpritsSought.push(effect.requester);
        this.#queue.push({ kind: "culprit-found", key: effect.key, culprit: this.culprit });
        break;
      case "exit":
        this.hasExited = true;
        break;
      default:
        this.#store(effect);
    }
  }

  #dump({ dump, what }: EngineEffect & { kind: "dump" }): void {
    const event = (): EngineEvent =>
      what === "everything"
        ? { kind: "snapshot", dump, snapshot: this.#snapshot() }
        : { kind: "routes", dump, routes: this.#snapshot().routes };
    const { auditPatienceMs = 0 } = this.#watch;
    this.#lateDump = { event, until: this.#world.now + auditPatienceMs };
    const isAudit = what === "everything" && this.#queue.length === 0;
    if (!isAudit || auditPatienceMs === 0) this.#answerDump();
  }

  #answerDump(): void {
    if (this.#lateDump === undefined) return;
    this.#queue.push(this.#lateDump.event());
    this.#lateDump = undefined;
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

  #serve({ link, payload, unicast }: EngineEffect & { kind: "send-dhcp" }): void {
    if (unicast !== undefined) {
      const { addresses } = this.#world.kernel.model;
      const isHeld = [...addresses.values()].some(({ address }) => address === unicast.source);
      const source = formatIpv4(unicast.source);
      this.unicasts.push(`${link.name} from ${source}${isHeld ? "" : ", which is gone"}`);
    }
    const n = link.ifindex - 10;
    if (this.#world.silentServers.has(n)) return;
    const address = this.#world.addressOf(n);
    const serverId = ipv4FromUint32((address & 0xffffff00) + 1);
    const { leaseSec, refusingServers } = this.#world;
    const isRefusing = refusingServers.has(n);
    const answer = answerOf(payload, { address, serverId, leaseSec, isRefusing });
    if (answer === undefined) return;
    this.#queue.push({
      kind: "dhcp-packet",
      ifindex: link.ifindex,
      payload: this.#watch.onAnswer?.(answer) ?? answer,
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
