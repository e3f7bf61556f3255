import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { err, ok, type Result } from "@mnm/proto/net";
import type { Config, ConfigProblem } from "../config/index.js";
import {
  Engine,
  type EngineEffect,
  type EngineEvent,
  type EngineReply,
  type EngineRequest,
  type GroupedOperation,
  type HostStatus,
} from "../engine/index.js";
import { Journal } from "../events/index.js";
import { renderOperation } from "../reconcile/index.js";
import { EventLoop } from "../runtime/event-loop.js";
import { decodeState } from "../uplink/index.js";
import { ApiServer, type ReloadOutcome } from "./api-server.js";
import { loadConfig } from "./config-file.js";
import { Culprits } from "./culprits.js";
import { HelperClient } from "./helper-client.js";
import { KernelDump } from "./kernel-dump.js";
import { KernelMonitor } from "./kernel-monitor.js";
import { LeaseStore } from "./lease-store.js";
import type { Log } from "./log.js";
import type { ControllerOptions } from "./options.js";
import { Peers } from "./peer-role.js";
import { ServiceManager } from "./service-manager.js";
import { describeHost } from "./service-status.js";
import { StateFile } from "./state-file.js";
import { SuspendMonitor } from "./suspend.js";
import { bootClockMs, notify, suspendedMs, watchWallClock } from "./sys.js";
import { DeviceTypes } from "./sysfs.js";

export interface ControllerStart
  extends Pick<
    ControllerOptions,
    "helperSocket" | "socket" | "stateDirectory" | "unique" | "receiveBuffer"
  > {
  /** The file that was named or found; empty when MNM runs on its defaults. */
  readonly configFile: string;
  readonly config: Config;
  readonly log: Log;
  readonly version: string;
  readonly instance: string;
  readonly hostName: string;
}

const JOURNAL_CAPACITY = 10_000;

/** Longer than any pause of ours, such as reading a kernel full of routes. */
const MOST_OVERDUE_MS = 5_000;

/** Everything around the engine: reads the kernel, talks to the helper, serves the API. */
class Controller {
  readonly #start: ControllerStart;
  readonly #log: Log;
  readonly #journal = new Journal(JOURNAL_CAPACITY);
  readonly #engine: Engine;
  readonly #loop: EventLoop<EngineEvent, EngineEffect>;
  readonly #dump: KernelDump;
  readonly #monitor: KernelMonitor;
  readonly #suspends: SuspendMonitor;
  readonly #helper: HelperClient;
  readonly #culprits = new Culprits();
  readonly #leases: LeaseStore;
  readonly #state: StateFile;
  readonly #api: ApiServer;
  readonly #service: ServiceManager;
  readonly #replies = new Map<number, (reply: EngineReply) => void>();
  #nextRequest = 1;

  constructor(start: ControllerStart) {
    this.#start = start;
    this.#log = start.log;
    const warn = (text: string) => this.#log.logger.warn(text);
    this.#leases = new LeaseStore(start.stateDirectory, warn);
    this.#state = new StateFile(start.stateDirectory, warn);
    this.#engine = new Engine(
      {
        randomUint32: () => randomBytes(4).readUInt32LE(),
        wallMs: Date.now,
        bootId: readBootId(),
        hostName: start.hostName,
      },
      {
        config: this.#effective(start.config),
        configFile: start.configFile,
        state: decodeState(this.#state.load()),
      },
    );
    this.#loop = new EventLoop<EngineEvent, EngineEffect>(this.#engine, {
      now: bootClockMs,
      wake: { kind: "wake" },
      perform: (effect) => this.#perform(effect),
    });
    const post = (event: EngineEvent) => this.#loop.post(event);
    const types = new DeviceTypes();
    const kernel = { now: bootClockMs, deviceTypeOf: types.of };
    this.#dump = new KernelDump(kernel);
    // Listening comes before the first dump, so that nothing is missed between the two.
    const { receiveBuffer } = start;
    this.#monitor = new KernelMonitor(
      kernel,
      {
        onNotifications: (batch) => {
          for (const event of batch) if (event.kind === "link-gone") types.forget(event.ifindex);
          post({ kind: "notifications", batch });
        },
        onOverrun: (text) => post({ kind: "overrun", text }),
        onSettingChanged: () => post({ kind: "setting-changed" }),
      },
      receiveBuffer === undefined ? {} : { receiveBuffer },
    );
    this.#suspends = new SuspendMonitor(
      { suspendedMs, watch: watchWallClock },
      {
        onResumed: (sleptMs) => post({ kind: "resumed", sleptMs }),
        onUnwatched: (fault) => this.#log.logger.warn(fault, "A resume is noticed a minute late"),
      },
    );
    this.#helper = new HelperClient({ post }, { socketPath: start.helperSocket });
    const peers = new Peers({ nowMs: bootClockMs });
    this.#api = new ApiServer({
      identity: { version: start.version, instance: start.instance, startedAt: bootClockMs() },
      journal: this.#journal,
      now: bootClockMs,
      status: () => this.#status(),
      request: (request) => this.#request(request),
      reload: () => this.#reload(),
      peerOf: (fd) => peers.of(fd),
      log: this.#log.logger,
    });
    this.#service = new ServiceManager(
      {
        tell: notify,
        describe: () => describeHost(this.#status()),
        exercise: () => post({ kind: "wake" }),
        ailment: () => this.#ailment(),
        onAilment: (ailment) =>
          this.#log.logger.error({ ailment }, "self-check failed: the watchdog is not fed"),
      },
      { environment: process.env, pid: process.pid },
    );
  }

  async run(): Promise<void> {
    // What takes time is begun before; what a second controller must not do comes after.
    this.#loop.post({ kind: "wake" });
    this.#helper.prepare();
    await this.#api.listen(this.#start.socket);
    this.#helper.start();
    process.on("SIGHUP", () => {
      this.#log.reopen();
      void this.#reload();
    });
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => this.#stop());
    this.#log.logger.info({ socket: this.#start.socket, version: this.#start.version }, "started");
    this.#service.ready();
  }

  #stop(): void {
    this.#service.stopping();
    this.#loop.post({ kind: "stop" });
  }

  /** What keeps us from our work without ending us; the engine has just been woken. */
  #ailment(): string | undefined {
    const overdueMs = this.#loop.overdueMs();
    if (overdueMs > MOST_OVERDUE_MS) return `The engine is ${overdueMs} ms behind`;
    if (!this.#api.isReachable) return `Nobody can reach us at ${this.#start.socket}`;
    const { helper } = this.#engine.status(bootClockMs());
    const agree = (helper.kind === "ready") === this.#helper.isReady;
    return agree ? undefined : `The engine believes that the helper is ${helper.kind}`;
  }

  /** What the command line says on top of the file. */
  #effective(config: Config): Config {
    return this.#start.unique ? { ...config, unique: true } : config;
  }

  /** The engine's, and that what it wants to be remembered is not. */
  #status(): HostStatus {
    const status = this.#engine.status(bootClockMs());
    const faults = [this.#state.fault, this.#leases.fault].filter((text) => text !== undefined);
    const warnings = [...status.warnings, ...faults.map((text) => ({ link: "", text }))];
    return { ...status, warnings };
  }

  #request(request: EngineRequest): Promise<EngineReply> {
    const id = this.#nextRequest;
    this.#nextRequest += 1;
    return new Promise((resolve) => {
      this.#replies.set(id, resolve);
      this.#loop.post({ kind: "request", id, request });
    });
  }

  async #reload(): Promise<Result<ReloadOutcome, readonly ConfigProblem[]>> {
    const named = this.#start.configFile === "" ? undefined : this.#start.configFile;
    const loaded = loadConfig(named);
    if (!loaded.ok) {
      this.#loop.post({ kind: "config-rejected", problems: loaded.error });
      return err(loaded.error);
    }
    const { file } = loaded.value;
    const config = this.#effective(loaded.value.config);
    const reply = await this.#request({ kind: "reload", config, file });
    return ok({ file, dropped: reply.kind === "reloaded" ? reply.dropped : [] });
  }

  #perform(effect: EngineEffect): void {
    switch (effect.kind) {
      case "dump":
        this.#read(effect.dump, effect.what);
        break;
      case "apply":
        this.#helper.apply(effect.operations, bootClockMs());
        if (this.#log.logger.isLevelEnabled("debug")) this.#logOperations(effect.operations);
        break;
      case "open-packets":
        this.#helper.openPackets(effect.links);
        break;
      case "close-packets":
        this.#helper.closePackets(effect.ifindexes);
        break;
      case "send-dhcp":
        this.#helper.sendDhcp(effect);
        break;
      case "watch-arp":
        this.#helper.watchArp(effect);
        break;
      case "send-arp":
        this.#helper.sendArp(effect);
        break;
      case "broadcast-legacy":
        this.#helper.broadcastLegacy(effect.events);
        break;
      case "emit": {
        const time = { wallMs: Date.now(), at: bootClockMs() };
        this.#journal.append(effect.event, time);
        this.#api.publish();
        this.#service.changed();
        break;
      }
      case "log":
        this.#log.write(effect.entry);
        break;
      case "find-culprit": {
        const { key, requester } = effect;
        this.#loop.post({ kind: "culprit-found", key, culprit: this.#culprits.of(requester) });
        break;
      }
      case "reply":
        this.#replies.get(effect.id)?.(effect.reply);
        this.#replies.delete(effect.id);
        break;
      case "exit":
        void this.#exit(effect.isPurging);
        break;
      default:
        this.#store(effect);
    }
  }

  #logOperations(operations: readonly GroupedOperation[]): void {
    for (const { operation } of operations) {
      this.#log.logger.debug({ operation: renderOperation(operation) }, "apply");
    }
  }

  #store(effect: StoreEffect): void {
    switch (effect.kind) {
      case "load-lease": {
        const { identity } = effect;
        const record = this.#leases.load(identity);
        this.#loop.post({ kind: "lease-loaded", identity, record });
        break;
      }
      case "save-lease":
        this.#leases.save(effect.identity, effect.record);
        break;
      case "forget-lease":
        this.#leases.remove(effect.identity);
        break;
      case "save-state":
        this.#state.save(effect.state);
        break;
    }
  }

  #read(dump: number, what: "everything" | "routes"): void {
    if (what === "everything") {
      void this.#dump.snapshot().then((result) => {
        if (result.ok) this.#loop.post({ kind: "snapshot", dump, snapshot: result.value });
        else this.#loop.post({ kind: "dump-failed", dump, text: JSON.stringify(result.error) });
      });
      return;
    }
    void this.#dump.routes().then((result) => {
      if (result.ok) this.#loop.post({ kind: "routes", dump, routes: result.value });
      else this.#loop.post({ kind: "dump-failed", dump, text: JSON.stringify(result.error) });
    });
  }

  async #exit(isPurging: boolean): Promise<void> {
    this.#loop.stop();
    if (isPurging) await this.#helper.purge();
    this.#api.close();
    this.#monitor.close();
    this.#suspends.close();
    this.#dump.close();
    await this.#leases.flush();
    this.#helper.close();
    this.#log.logger.info("stopped");
    process.exit(0);
  }
}

type StoreEffect = Extract<
  EngineEffect,
  { kind: "load-lease" | "save-lease" | "forget-lease" | "save-state" }
>;

/** Starts the controller; it ends with the process. */
export async function startController(start: ControllerStart): Promise<void> {
  await new Controller(start).run();
}

function readBootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
