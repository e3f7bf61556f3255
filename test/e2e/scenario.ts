import { type ChannelOptions, type ClientReadableStream, credentials } from "@grpc/grpc-js";
import {
  type Event,
  EventKind,
  type Link,
  LinkState,
  NetworkManagerClient,
  type Status,
  type SubscribeRequest,
  type SubscribeResponse,
} from "@mnm/proto/network-manager";
import { Lab, type LabOptions, type StartOptions } from "../lab/index.js";
import type { Program } from "../lab/program.js";

const SUBSCRIBE: SubscribeRequest = {
  resumeAfter: undefined,
  links: [],
  kinds: [],
  noSnapshot: false,
  heartbeatMs: 0,
};

/** How long an event may take before a test gives up: these machines are noisy. */
const PATIENCE_MS = 20_000;

/** The event stream of a controller, kept, with a way to wait for what is to come. */
export class EventLog {
  readonly items: SubscribeResponse[] = [];
  ended: { readonly code: number; readonly details: string } | undefined;
  readonly #stream: ClientReadableStream<SubscribeResponse>;
  readonly #waiting = new Set<() => void>();

  constructor(client: NetworkManagerClient, request: Partial<SubscribeRequest> = {}) {
    this.#stream = client.subscribe({ ...SUBSCRIBE, ...request });
    this.#stream.on("data", (item: SubscribeResponse) => {
      this.items.push(item);
      this.#wake();
    });
    this.#stream.on("error", ({ code = -1, details = "" }: { code?: number; details?: string }) => {
      this.ended = { code, details };
      this.#wake();
    });
  }

  get events(): readonly Event[] {
    return this.items.flatMap(({ item }) => (item?.$case === "event" ? [item.value] : []));
  }

  get snapshot(): readonly Link[] {
    return this.items.flatMap(({ item }) => (item?.$case === "link" ? [item.value] : []));
  }

  /** Waits until the log has it. */
  async until(what: string, has: (log: EventLog) => boolean): Promise<void> {
    const timer = AbortSignal.timeout(PATIENCE_MS);
    timer.addEventListener("abort", () => this.#wake(), { once: true });
    while (!has(this)) {
      if (this.ended !== undefined) {
        throw new Error(`The stream ended (${this.ended.details}) while waiting for ${what}`);
      }
      if (timer.aborted) {
        const seen = this.events.map(describeEvent).join("\n  ");
        throw new Error(`Waited ${PATIENCE_MS} ms in vain for ${what}; seen:\n  ${seen}`);
      }
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve);
      });
    }
  }

  /** Waits for an event after the first `skip` ones. */
  async event(kind: EventKind, link?: string, skip = 0): Promise<Event> {
    const find = () =>
      this.events
        .slice(skip)
        .find((event) => event.kind === kind && (link === undefined || event.link?.name === link));
    await this.until(`event ${kind} of ${link ?? "any link"}`, () => find() !== undefined);
    const event = find();
    if (event === undefined) throw new Error("The event went away");
    return event;
  }

  async synced(): Promise<void> {
    await this.until("synced", ({ items }) => items.some(({ item }) => item?.$case === "synced"));
  }

  close(): void {
    this.#stream.cancel();
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

export function describeEvent({ sequence, kind, link, text }: Event): string {
  return `#${sequence} kind ${kind} ${link?.name ?? "-"}: ${text}`;
}

/** A lab with both programs running in it, and a client of the API. */
export class Scenario implements AsyncDisposable {
  readonly lab: Lab;
  helper: Program;
  controller: Program;
  readonly client: NetworkManagerClient;
  log: EventLog;

  private constructor(lab: Lab, helper: Program, controller: Program) {
    this.lab = lab;
    this.helper = helper;
    this.controller = controller;
    this.client = clientOf(lab);
    this.log = new EventLog(this.client);
  }

  /** Builds a lab, starts both programs at once, and waits until `usable` uplinks are. */
  static async start(
    options: LabOptions & {
      readonly usable?: number;
      readonly controller?: StartOptions;
      readonly helper?: StartOptions;
      /** What the lab needs before the programs start. */
      readonly prepare?: (lab: Lab) => Promise<void>;
    },
  ): Promise<Scenario> {
    const { usable = options.uplinks, prepare, ...others } = options;
    const { controller: start = {}, helper: startHelper = {}, ...labOptions } = others;
    const lab = await Lab.create(labOptions);
    try {
      await prepare?.(lab);
      const [helper, controller] = await Promise.all([
        lab.startHelper(startHelper),
        lab.startController(start),
      ]);
      const scenario = new Scenario(lab, helper, controller);
      await scenario.#connected();
      await scenario.usable(usable);
      return scenario;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** Subscribes once the controller listens: its socket is there a moment before it does. */
  async #connected(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.client.waitForReady(Date.now() + PATIENCE_MS, (error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
    });
    this.log.close();
    this.log = new EventLog(this.client);
  }

  /** For after a start of another controller, as the stream ended with the one before. */
  async resubscribe(): Promise<void> {
    await this.#connected();
  }

  /** Waits until that many uplinks are usable, by what the stream says. */
  async usable(count: number): Promise<void> {
    await this.log.until(`${count} usable uplinks`, (log) => usableLinks(log).size >= count);
  }

  status(): Promise<Status> {
    return statusOf(this.client);
  }

  async link(name: string): Promise<Link> {
    const link = (await this.status()).links.find((candidate) => candidate.name === name);
    if (link === undefined) throw new Error(`No link ${name}`);
    return link;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.log.close();
    this.client.close();
    await this.lab.close();
  }
}

export function clientOf(lab: Lab, options: ChannelOptions = {}): NetworkManagerClient {
  const target = `unix:${lab.launcher.controllerSocket}`;
  return new NetworkManagerClient(target, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 50,
    "grpc.max_reconnect_backoff_ms": 100,
    ...options,
  });
}

export function statusOf(client: NetworkManagerClient): Promise<Status> {
  return new Promise((resolve, reject) => {
    client.getStatus({}, (error, response) => {
      if (error !== null) reject(error);
      else if (response.status === undefined) reject(new Error("GetStatus gave no status"));
      else resolve(response.status);
    });
  });
}

/** The links that are usable after all that the log has seen. */
export function usableLinks(log: EventLog): ReadonlySet<string> {
  const usable = new Set<string>();
  for (const { item } of log.items) {
    if (item?.$case === "link" && item.value.state === LinkState.USABLE)
      usable.add(item.value.name);
    if (item?.$case !== "event") continue;
    const name = item.value.link?.name ?? "";
    if (item.value.kind === EventKind.UPLINK_USABLE) usable.add(name);
    if (item.value.kind === EventKind.UPLINK_UNUSABLE) usable.delete(name);
  }
  return usable;
}
