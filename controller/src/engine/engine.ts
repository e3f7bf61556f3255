/**
 * The whole controller as one machine: events in, effects out.
 *
 * `step` takes in what happened; `settle`, once nothing more is waiting, compares what the kernel
 * holds with what it should hold and acts on the difference. Nothing is done because of an event
 * alone, so a lost event costs time, never correctness.
 */
import { after, assertNever, type Instant } from "@mnm/proto/net";
import type { Config, ConfigProblem } from "../config/index.js";
import { isUsable } from "../link/index.js";
import type { PersistentState } from "../uplink/index.js";
import type { EngineEnvironment } from "./dhcp-driver.js";
import { Dumps } from "./dumps.js";
import { LinkWatch } from "./link-watch.js";
import type {
  EngineEffect,
  EngineEvent,
  EngineRequest,
  HelperEvent,
  HelperInfo,
} from "./messages.js";
import { Outbox } from "./outbox.js";
import { makeParts, type Parts } from "./parts.js";
import { earliest } from "./repairs.js";
import { Settlement } from "./settlement.js";
import { defaultLinkOf, type HostStatus, hostStatus } from "./status.js";

export interface EngineStart {
  readonly config: Config;
  /** Empty when MNM runs on its defaults. */
  readonly configFile: string;
  readonly state: PersistentState;
}

/** Withdrawing everything at the end takes milliseconds; the machine does not wait longer. */
const STOP_TIMEOUT_MS = 3_000;

export class Engine {
  readonly #parts: Parts;
  readonly #links: LinkWatch;
  readonly #settlement: Settlement;
  readonly #dumps = new Dumps();
  #config: Config;
  #configFile: string;
  #configProblems: readonly ConfigProblem[] = [];
  #hasSnapshot = false;
  #settledAt: Instant | undefined;
  #stopAt: Instant | undefined;

  constructor(environment: EngineEnvironment, { config, configFile, state }: EngineStart) {
    this.#config = config;
    this.#configFile = configFile;
    this.#parts = makeParts(environment, state);
    this.#links = new LinkWatch(this.#parts);
    this.#settlement = new Settlement(this.#parts);
  }

  /** Takes in one event. */
  step(event: EngineEvent, now: Instant): readonly EngineEffect[] {
    const outbox = new Outbox(now);
    this.#take(event, outbox);
    return outbox.effects;
  }

  /** Acts on the difference between what is and what should be. Call when no event is waiting. */
  settle(now: Instant): readonly EngineEffect[] {
    const outbox = new Outbox(now);
    this.#settledAt = now;
    if (this.#hasSnapshot) this.#settle(outbox);
    if (this.#parts.kernel.routesAreStale) this.#dumps.want("routes");
    this.#dumps.ask(outbox);
    return outbox.effects;
  }

  /** When to deliver `wake`. */
  deadline(): Instant | undefined {
    const settled = this.#settledAt;
    // What was due then and is still there waits for an event, such as the helper's return.
    const isAhead = (due: Instant | undefined) =>
      due !== undefined && (settled === undefined || due > settled);
    const ours = [
      this.#parts.metricChanges.deadline(),
      this.#parts.leaseRequests.deadline(),
      ...this.#parts.convergence.deadlines(),
      this.#dumps.deadline(),
      this.#parts.announcer.legacy.deadline(),
      this.#stopAt,
    ];
    return earliest([this.#parts.agenda.deadline(), ...ours.filter(isAhead)]);
  }

  #settle(outbox: Outbox): void {
    if (this.#stopAt !== undefined) this.audit();
    const isStopping = this.#stopAt !== undefined;
    const isGone = this.#settlement.settle({ config: this.#config, isStopping }, outbox);
    const isLate = this.#stopAt !== undefined && this.#stopAt <= outbox.now;
    if (isLate || isGone) outbox.push({ kind: "exit", isPurging: true });
  }

  /** Looks at every link at the next settling, whether or not anything happened to it. */
  audit(): void {
    this.#parts.uplinks.audit();
    for (const ifindex of this.#parts.registry.managed.keys()) this.#parts.agenda.touch(ifindex);
  }

  status(now: Instant): HostStatus {
    return hostStatus({
      now,
      kernel: this.#parts.kernel,
      registry: this.#parts.registry,
      repairs: this.#parts.convergence.repairs,
      uplinks: this.#parts.uplinks.current,
      helper: this.#parts.helper.status,
      configFile: this.#configFile,
      configProblems: this.#configProblems,
      isSettled: this.#parts.convergence.isSettled,
    });
  }

  #take(event: EngineEvent, outbox: Outbox): void {
    switch (event.kind) {
      case "wake":
        this.#wake(outbox);
        break;
      case "snapshot":
      case "routes":
        this.#takeDump(event, outbox);
        break;
      case "dump-failed":
        outbox.log("warn", "Dump failed", { text: event.text });
        this.#dumps.failed(event.dump, outbox.now);
        break;
      case "notifications": {
        this.#dumps.note(event.batch);
        const changes = event.batch.flatMap((notification) =>
          this.#parts.kernel.apply(notification),
        );
        // At once: a dump that is under way was asked for before this, and will make them look fresh.
        if (this.#parts.kernel.routesAreStale) this.#dumps.want("routes");
        this.#links.observe(changes, this.#config, outbox);
        break;
      }
      case "overrun":
        this.#dumps.resync({ reason: "overrun", text: `notifications were lost: ${event.text}` });
        break;
      case "setting-changed":
        this.#dumps.want("everything");
        break;
      case "resumed":
        this.#resume(event.sleptMs, outbox);
        break;
      case "config":
        this.#configure(event.config, event.file, outbox);
        break;
      case "config-rejected":
        this.#configProblems = event.problems;
        this.#parts.announcer.configRejected(event.problems, outbox);
        break;
      case "request":
        this.#request(event.id, event.request, outbox);
        break;
      case "stop":
        this.#stop(outbox);
        break;
      default:
        this.#takeFromHelper(event, outbox);
    }
  }

  #takeFromHelper(event: HelperEvent, outbox: Outbox): void {
    const managed =
      "ifindex" in event ? this.#parts.registry.managed.get(event.ifindex) : undefined;
    if (managed !== undefined) this.#parts.agenda.touch(managed.ifindex);
    switch (event.kind) {
      case "helper-ready":
        this.#helperReady(event.helper, outbox.now);
        break;
      case "helper-lost":
        this.#parts.helper.lost(event.text, this.#parts.registry.managed.values(), outbox);
        this.#parts.convergence.abandon();
        this.audit();
        break;
      case "applied":
        this.#links.observe(
          this.#parts.convergence.conclude(event.results, this.#parts.metricChanges, outbox),
          this.#config,
          outbox,
        );
        break;
      case "apply-failed":
        this.#parts.convergence.fail(event.text, outbox);
        break;
      case "packets-opened":
        this.#parts.helper.portsOpened(event.results, this.#parts.registry, outbox);
        for (const { ifindex } of event.results) this.#parts.agenda.touch(ifindex);
        break;
      case "dhcp-packet":
      case "packets-dropped":
        if (managed !== undefined) this.#parts.driver.receive(managed, event, outbox);
        break;
      case "arp-packet":
        if (managed !== undefined) this.#parts.driver.receiveArp(managed, event.packet, outbox);
        break;
      case "dhcp-send-failed":
      case "arp-failed":
        this.#parts.driver.noteFailure(managed, event, outbox);
        break;
      case "legacy-failed":
        this.#parts.announcer.legacy.failed(event.text, outbox);
        break;
      case "lease-loaded": {
        const owner = this.#parts.registry.byIdentity(event.identity);
        if (owner === undefined) break;
        this.#parts.agenda.touch(owner.ifindex);
        this.#parts.driver.remember(owner, event.record, outbox);
        break;
      }
      case "culprit-found":
        this.#parts.convergence.accuse(event.key, event.culprit, outbox);
        break;
      default:
        assertNever(event);
    }
  }

  #helperReady(info: HelperInfo, now: Instant): void {
    this.#parts.convergence.repairs.retryAll(now);
    this.audit();
    const isBack = this.#parts.helper.ready(info, this.#parts.registry.managed.values());
    if (isBack) this.#dumps.resync({ reason: "helper", text: "the helper is back" });
  }

  #wake(outbox: Outbox): void {
    for (const ifindex of this.#parts.agenda.due(outbox.now)) {
      const managed = this.#parts.registry.managed.get(ifindex);
      if (managed !== undefined) this.#parts.driver.wake(managed, outbox);
    }
  }

  /** What expired meanwhile is over, and the rest may be another network's by now. */
  #resume(sleptMs: number, outbox: Outbox): void {
    outbox.log("info", "The host was suspended", { sleptMs });
    this.#wake(outbox);
    this.audit();
    for (const managed of this.#parts.registry.managed.values()) {
      if (isUsable(managed.link)) this.#parts.driver.check(managed, outbox);
    }
    // The kernel's count of an address's lifetime stood still.
    this.#dumps.want("everything");
  }

  #takeDump(event: EngineEvent & { kind: "snapshot" | "routes" }, outbox: Outbox): void {
    const since = this.#dumps.arrived(event.dump, outbox.now);
    if (since === undefined) return;
    const changes =
      event.kind === "snapshot"
        ? this.#parts.kernel.replace(event.snapshot)
        : this.#parts.kernel.replaceRoutes(event.routes);
    const later = since.flatMap((notification) => this.#parts.kernel.apply(notification));
    if (this.#hasSnapshot) {
      this.#links.observe([...changes, ...later], this.#config, outbox);
    } else {
      this.#hasSnapshot = event.kind === "snapshot";
      this.#parts.convergence.begin(outbox.now);
      this.#links.begin(this.#config, outbox);
    }
    if (event.kind !== "snapshot") return;
    this.#parts.convergence.audit();
    this.audit();
  }

  #configure(config: Config, file: string, outbox: Outbox): readonly string[] {
    this.#config = config;
    this.#configFile = file;
    this.#configProblems = [];
    const dropped = this.#parts.registry.dropRuntime();
    this.#links.configure(config, outbox);
    this.#parts.convergence.repairs.retryAll(outbox.now);
    this.audit();
    outbox.emit("config-applied", {
      reason: "config",
      after: file,
      text: ["configuration is in force", ...dropped].join("; "),
    });
    return dropped;
  }

  #request(id: number, request: EngineRequest, outbox: Outbox): void {
    const { registry, agenda } = this.#parts;
    const managed = "link" in request ? registry.byName(request.link) : undefined;
    if (managed !== undefined) agenda.touch(managed.ifindex);
    switch (request.kind) {
      case "set-metric":
        this.#parts.metricChanges.begin(id, request, this.#requestScene(outbox.now), outbox);
        break;
      case "renew":
      case "release":
      case "reconnect":
        this.#parts.leaseRequests.begin(id, request, this.#requestScene(outbox.now), outbox);
        break;
      case "reload": {
        const dropped = this.#configure(request.config, request.file, outbox);
        outbox.push({ kind: "reply", id, reply: { kind: "reloaded", dropped } });
        break;
      }
      default:
        assertNever(request);
    }
  }

  #requestScene(now: Instant) {
    return {
      registry: this.#parts.registry,
      kernel: this.#parts.kernel,
      config: this.#config,
      helper: this.#parts.helper.status,
      now,
      defaultLink: defaultLinkOf(this.#parts.kernel),
    };
  }

  #stop(outbox: Outbox): void {
    if (this.#config.onStop === "keep" || !this.#parts.helper.isReady) {
      outbox.push({ kind: "exit", isPurging: false });
      return;
    }
    if (this.#config.onStop === "release") {
      for (const managed of this.#parts.registry.managed.values())
        this.#parts.driver.release(managed, outbox);
    }
    this.#stopAt = after(outbox.now, STOP_TIMEOUT_MS);
  }
}
