/**
 * The whole controller as one machine: events in, effects out.
 *
 * `step` takes in what happened; `settle`, once nothing more is waiting, compares what the kernel
 * holds with what it should hold and acts on the difference. Nothing is done because of an event
 * alone, so a lost event costs time, never correctness.
 */
import { after, assertNever, type Instant } from "@mnm/proto/net";
import type { Config, ConfigProblem } from "../config/index.js";
import { isUsable, type Link } from "../link/index.js";
import { KernelModel, type ModelChange } from "../reconcile/index.js";
import type { PersistentState, Uplink } from "../uplink/index.js";
import { encodeState } from "../uplink/index.js";
import { Announcer } from "./announcer.js";
import { Convergence } from "./convergence.js";
import { DhcpDriver, type EngineEnvironment } from "./dhcp-driver.js";
import { Dumps } from "./dumps.js";
import { settleDuplicates } from "./duplicates.js";
import { HelperLink } from "./helper-link.js";
import { LeaseRequests } from "./lease-requests.js";
import type { ManagedLink } from "./managed-link.js";
import type {
  EngineEffect,
  EngineEvent,
  EngineRequest,
  HelperEvent,
  HelperInfo,
} from "./messages.js";
import { foreignMetrics, MetricChanges } from "./metric-change.js";
import { Outbox } from "./outbox.js";
import { Registry } from "./registry.js";
import { earliest } from "./repairs.js";
import { defaultLinkOf, type HostStatus, hostStatus } from "./status.js";
import { Uplinks } from "./uplinks.js";

export interface EngineStart {
  readonly config: Config;
  /** Empty when MNM runs on its defaults. */
  readonly configFile: string;
  readonly state: PersistentState;
}

/** Withdrawing everything at the end takes milliseconds; the machine does not wait longer. */
const STOP_TIMEOUT_MS = 3_000;

export class Engine {
  readonly #kernel = new KernelModel();
  readonly #registry: Registry;
  readonly #driver: DhcpDriver;
  readonly #announcer = new Announcer();
  readonly #convergence: Convergence;
  readonly #dumps = new Dumps();
  readonly #helper = new HelperLink();
  readonly #metricChanges = new MetricChanges();
  readonly #leaseRequests: LeaseRequests;
  #config: Config;
  #configFile: string;
  #configProblems: readonly ConfigProblem[] = [];
  #hasSnapshot = false;
  #settledAt: Instant | undefined;
  readonly #uplinkMemory = new Uplinks();
  #uplinks: ReadonlyMap<ManagedLink, Uplink> = new Map();
  #stopAt: Instant | undefined;

  constructor(environment: EngineEnvironment, { config, configFile, state }: EngineStart) {
    this.#config = config;
    this.#configFile = configFile;
    this.#registry = new Registry(state);
    this.#driver = new DhcpDriver(environment, this.#kernel);
    this.#leaseRequests = new LeaseRequests(this.#driver);
    this.#convergence = new Convergence(this.#kernel, this.#registry, environment.bootId);
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
    if (this.#hasSnapshot) this.#converge(outbox);
    if (this.#kernel.routesAreStale) this.#dumps.want("routes");
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
      this.#metricChanges.deadline(),
      this.#leaseRequests.deadline(),
      this.#helper.deadline(),
      ...this.#convergence.deadlines(),
      this.#dumps.deadline(),
      this.#stopAt,
    ];
    const links = [...this.#registry.managed.values()].map((managed) => managed.deadline());
    return earliest([...links, ...ours.filter(isAhead)]);
  }

  status(now: Instant): HostStatus {
    return hostStatus({
      now,
      kernel: this.#kernel,
      registry: this.#registry,
      repairs: this.#convergence.repairs,
      uplinks: this.#uplinks,
      helper: this.#helper.status,
      configFile: this.#configFile,
      configProblems: this.#configProblems,
      isSettled: this.#convergence.isSettled,
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
        const changes = event.batch.flatMap((notification) => this.#kernel.apply(notification));
        // At once: a dump that is under way was asked for before this, and will make them look fresh.
        if (this.#kernel.routesAreStale) this.#dumps.want("routes");
        this.#observe(changes, outbox);
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
        this.#announcer.configRejected(event.problems, outbox);
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
    const managed = "ifindex" in event ? this.#registry.managed.get(event.ifindex) : undefined;
    switch (event.kind) {
      case "helper-ready":
        this.#helperReady(event.helper, outbox.now);
        break;
      case "helper-lost":
        this.#helper.lost(event.text, this.#registry.managed.values(), outbox);
        this.#convergence.abandon();
        break;
      case "applied": {
        const { results } = event;
        this.#observe(this.#convergence.conclude(results, this.#metricChanges, outbox), outbox);
        break;
      }
      case "apply-failed":
        this.#convergence.fail(event.text, outbox);
        break;
      case "packets-opened":
        this.#helper.portsOpened(event.results, this.#registry, outbox);
        break;
      case "dhcp-packet":
      case "packets-dropped":
        if (managed !== undefined) this.#driver.receive(managed, event, outbox);
        break;
      case "dhcp-send-failed":
        managed?.count("send-failed");
        outbox.log("warn", "DHCP message not sent", { link: managed?.name, text: event.text });
        break;
      case "arp-packet":
        if (managed !== undefined) this.#driver.receiveArp(managed, event.packet, outbox);
        break;
      case "arp-failed":
        // A conflict may stay unseen then; the lease itself is as good as it was.
        outbox.log("debug", "ARP refused", { link: managed?.name, text: event.text });
        break;
      case "lease-loaded": {
        const owner = this.#registry.byIdentity(event.identity);
        if (owner !== undefined) this.#driver.remember(owner, event.record, outbox);
        break;
      }
      case "culprit-found":
        this.#convergence.accuse(event.key, event.culprit, outbox);
        break;
      default:
        assertNever(event);
    }
  }

  #helperReady(info: HelperInfo, now: Instant): void {
    this.#convergence.repairs.retryAll(now);
    const isBack = this.#helper.ready(info, this.#registry.managed.values());
    if (isBack) this.#dumps.resync({ reason: "helper", text: "the helper is back" });
  }

  #wake(outbox: Outbox): void {
    for (const managed of this.#registry.managed.values()) this.#driver.wake(managed, outbox);
  }

  /** What expired meanwhile is over, and the rest may be another network's by now. */
  #resume(sleptMs: number, outbox: Outbox): void {
    outbox.log("info", "The host was suspended", { sleptMs });
    this.#wake(outbox);
    for (const managed of this.#registry.managed.values()) {
      if (isUsable(managed.link)) this.#driver.check(managed, outbox);
    }
    // The kernel's count of an address's lifetime stood still.
    this.#dumps.want("everything");
  }

  #takeDump(event: EngineEvent & { kind: "snapshot" | "routes" }, outbox: Outbox): void {
    const since = this.#dumps.arrived(event.dump, outbox.now);
    if (since === undefined) return;
    const changes =
      event.kind === "snapshot"
        ? this.#kernel.replace(event.snapshot)
        : this.#kernel.replaceRoutes(event.routes);
    const later = since.flatMap((notification) => this.#kernel.apply(notification));
    if (event.kind === "snapshot") this.#convergence.audit();
    if (this.#hasSnapshot) {
      this.#observe([...changes, ...later], outbox);
      return;
    }
    this.#hasSnapshot = event.kind === "snapshot";
    this.#convergence.begin(outbox.now);
    // In order of ifindex, so that slots and metrics are given in that order the first time.
    const links = [...this.#kernel.links.values()].toSorted((a, b) => a.ifindex - b.ifindex);
    for (const link of links) this.#registry.select(link, this.#config, outbox);
  }

  /** Follows changes of links, one after the other, and tells of all. */
  #observe(changes: readonly ModelChange[], outbox: Outbox): void {
    for (const change of changes) {
      if (change.kind !== "link-changed" || change.before.name === change.link.name) continue;
      const renamed = this.#registry.managed.get(change.link.ifindex);
      if (renamed !== undefined) this.#registry.vacate(renamed);
    }
    for (const change of changes) {
      if (change.kind === "link-added" || change.kind === "link-changed") {
        this.#selectLink(change.link, outbox);
      }
      this.#convergence.repairs.observe(change, outbox.now);
      this.#announcer.change(change, this.#registry, outbox);
      if (change.kind === "link-removed") {
        const gone = this.#registry.remove(change.link.ifindex);
        if (gone !== undefined) this.#release(gone, "link", outbox);
      }
    }
  }

  /** @param link as it was after a change: others of the same batch may have come since */
  #selectLink(link: Link, outbox: Outbox): void {
    const { ifindex } = link;
    if (!this.#kernel.links.has(ifindex)) return;
    const identity = this.#registry.managed.get(ifindex)?.identity;
    const gone = this.#registry.select(link, this.#config, outbox);
    if (gone !== undefined) {
      this.#release(gone, "config", outbox);
      return;
    }
    const renamed = this.#registry.managed.get(ifindex);
    if (identity === undefined || renamed === undefined || renamed.identity === identity) return;
    this.#announcer.rename(identity, renamed.identity);
    this.#driver.keepUnder(renamed, outbox);
  }

  #release(gone: ManagedLink, reason: "link" | "config", outbox: Outbox): void {
    this.#announcer.forget(gone, reason, outbox);
    if (gone.port !== "closed") outbox.push({ kind: "close-packets", ifindexes: [gone.ifindex] });
  }

  #configure(config: Config, file: string, outbox: Outbox): readonly string[] {
    this.#config = config;
    this.#configFile = file;
    this.#configProblems = [];
    const dropped = this.#registry.dropRuntime();
    for (const link of this.#kernel.links.values()) this.#selectLink(link, outbox);
    this.#convergence.repairs.retryAll(outbox.now);
    outbox.emit("config-applied", {
      reason: "config",
      after: file,
      text: ["configuration is in force", ...dropped].join("; "),
    });
    return dropped;
  }

  #request(id: number, request: EngineRequest, outbox: Outbox): void {
    switch (request.kind) {
      case "set-metric":
        this.#metricChanges.begin(id, request, this.#requestScene(outbox.now), outbox);
        break;
      case "renew":
      case "release":
      case "reconnect":
        this.#leaseRequests.begin(id, request, this.#requestScene(outbox.now), outbox);
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
      registry: this.#registry,
      kernel: this.#kernel,
      config: this.#config,
      helper: this.#helper.status,
      now,
      defaultLink: defaultLinkOf(this.#kernel),
    };
  }

  #stop(outbox: Outbox): void {
    if (this.#config.onStop === "keep" || !this.#helper.isReady) {
      outbox.push({ kind: "exit" });
      return;
    }
    if (this.#config.onStop === "release") {
      for (const managed of this.#registry.managed.values()) this.#driver.release(managed, outbox);
    }
    this.#stopAt = after(outbox.now, STOP_TIMEOUT_MS);
  }

  #converge(outbox: Outbox): void {
    const isLeaving = this.#driver.endLeaving(this.#registry.managed.values(), outbox.now);
    const isWithdrawing = this.#stopAt !== undefined && !isLeaving;
    if (!isWithdrawing) this.#drive(outbox);
    this.#registry.assignMetrics(this.#config, foreignMetrics(this.#kernel));
    this.#uplinks = isWithdrawing ? new Map() : this.#findUplinks(outbox);

    const conditions = { isWithdrawing, isHelperReady: this.#helper.isReady };
    const outstanding = this.#convergence.run(this.#uplinks, conditions, outbox);
    // The settings as found must be on disk before ours are set.
    const changed = this.#registry.takeChanges();
    if (changed !== undefined) outbox.push({ kind: "save-state", state: encodeState(changed) });
    this.#convergence.send(outbox);

    const { repairs, isMainSettled } = this.#convergence;
    const defaultLink = defaultLinkOf(this.#kernel);
    const reason = this.#metricChanges.arePending ? "operator" : "unspecified";
    const managed = this.#registry.managed.values();
    const uplinks = this.#uplinks;
    this.#announcer.review({ managed, uplinks, outstanding, repairs, defaultLink, reason }, outbox);
    this.#leaseRequests.finish(this.#kernel, this.#uplinks, outbox);
    const faultOf = ({ ifindex }: ManagedLink) => repairs.faultOf(ifindex)?.refusal;
    this.#metricChanges.finish({ isMainSettled, faultOf, defaultLink }, outbox);
    const isLate = this.#stopAt !== undefined && this.#stopAt <= outbox.now;
    if (isLate || (isWithdrawing && outstanding.isEmpty)) outbox.push({ kind: "exit" });
  }

  #findUplinks(outbox: Outbox): ReadonlyMap<ManagedLink, Uplink> {
    const managed = [...this.#registry.managed.values()];
    const uplinks = this.#uplinkMemory.of(managed, this.#kernel);
    const scene = { managed, uplinks, isUnique: this.#config.unique };
    return settleDuplicates(scene, (link, event) => this.#driver.step(link, event, outbox));
  }

  #drive(outbox: Outbox): void {
    const { addresses } = this.#kernel;
    for (const managed of this.#registry.managed.values()) {
      this.#driver.drive(managed, addresses.of(managed.ifindex), outbox);
    }
    this.#helper.openPorts(this.#registry.managed.values(), outbox);
  }
}
