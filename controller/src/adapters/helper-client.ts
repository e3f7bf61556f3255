import { existsSync } from "node:fs";
import {
  type ClientReadableStream,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import {
  HelperClient as GrpcClient,
  type ReceiveArpResponse,
  type ReceiveDhcpResponse,
} from "@mnm/proto/helper";
import { type Ifindex, type Instant, ifindexFromNumber, ipv4FromUint32 } from "@mnm/proto/net";
import type {
  EngineEffect,
  EngineEvent,
  GroupedOperation,
  LegacyEvent,
  Refusal,
} from "../engine/index.js";
import type { LinkRef } from "../link/index.js";
import { type Answer, CommandStream, PATIENCE_MS } from "./command-stream.js";
import { decodeResult, encodeArpMessage, encodeLinkRef, encodeOperation } from "./helper-encode.js";
import { PacketDrops } from "./packet-drops.js";

const PROTOCOL_VERSION = 1;
const FIRST_RETRY_MS = 10;
const LAST_RETRY_MS = 500;
/** Adds a fifth at most to the time that the helper is away, half a second when that is long. */
const RETRY_GROWTH = 1.2;
/** A connection that ends sooner is no better than none. */
const LASTING_MS = 100;

/**
 * Another controller has taken the helper over: it serves one only, and the newest. Two that are there to
 * stay must not take it from each other for ever.
 */
const FIRST_RIVAL_PAUSE_MS = 1_000;
const LAST_RIVAL_PAUSE_MS = 60_000;
/** Who has had the helper for this long has no rival. */
const UNRIVALLED_MS = 2 * LAST_RIVAL_PAUSE_MS;

export interface HelperClientDependencies {
  readonly post: (event: EngineEvent) => void;
}

type SendDhcp = EngineEffect & { kind: "send-dhcp" };
type SendArp = EngineEffect & { kind: "send-arp" };
type WatchArp = EngineEffect & { kind: "watch-arp" };

/** What goes to the helper at the end of this turn. */
interface Outgoing {
  readonly watches: WatchArp[];
  readonly arp: SendArp[];
  readonly dhcp: SendDhcp[];
}

/**
 * The connection to the helper: kept up for ever, and reported to the engine as it comes and goes.
 *
 * The streams of packets are what tells that the helper is gone: they end with it.
 */
export class HelperClient {
  readonly #socketPath: string;
  readonly #post: (event: EngineEvent) => void;
  #client: GrpcClient | undefined;
  #streams: readonly (
    | ClientReadableStream<ReceiveDhcpResponse>
    | ClientReadableStream<ReceiveArpResponse>
  )[] = [];
  /** There while the helper has answered Hello, and the connection has not ended since. */
  #commands: CommandStream | undefined;
  #readyAtMs = 0;
  #retryMs = FIRST_RETRY_MS;
  #rivalPauseMs = FIRST_RIVAL_PAUSE_MS;
  #retryTimer: NodeJS.Timeout | undefined;
  #lastText = "";
  #outgoing: Outgoing | undefined;
  #closed = false;

  constructor({ post }: HelperClientDependencies, options: { readonly socketPath: string }) {
    this.#post = post;
    this.#socketPath = options.socketPath;
  }

  get isReady(): boolean {
    return this.#commands !== undefined;
  }

  /** Connects without a word: the helper drops whom it served before only at Hello. */
  prepare(): void {
    if (!existsSync(this.#socketPath)) return;
    this.#client = this.#makeClient();
    this.#client.getChannel().getConnectivityState(true);
  }

  #makeClient(): GrpcClient {
    return new GrpcClient(`unix:${this.#socketPath}`, credentials.createInsecure(), {
      // A shared subchannel would carry the back-off of the last attempt over to this one.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_receive_message_length": 4 * 1024 * 1024,
    });
  }

  /** Says Hello, and goes on for ever. */
  start(): void {
    // Cheaper than a connection attempt while the helper has not started.
    if (!existsSync(this.#socketPath)) {
      this.#lost(`no socket at ${this.#socketPath}; is mnm-helper running?`);
      return;
    }
    this.#client ??= this.#makeClient();
    const client = this.#client;
    const options = { deadline: Date.now() + PATIENCE_MS };
    client.hello({ protocolVersion: PROTOCOL_VERSION }, new Metadata(), options, (error, hello) => {
      if (client !== this.#client) return;
      if (error !== null || hello === undefined) {
        this.#lost(describe(error));
        return;
      }
      stopSweeping(client);
      this.#receive(client);
      this.#readyAtMs = performance.now();
      this.#lastText = "";
      const { version, capabilities } = hello;
      this.#post({ kind: "helper-ready", helper: { version, capabilities } });
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    this.#commands?.close();
    for (const stream of this.#streams) stream.cancel();
    this.#client?.close();
  }

  apply(operations: readonly GroupedOperation[], now: Instant): void {
    const value = { operations: operations.map((operation) => encodeOperation(operation, now)) };
    this.#commands?.send({ $case: "apply", value }, (answer) => {
      if (answer.kind === "refused") this.#post({ kind: "apply-failed", text: answer.text });
      else this.#post({ kind: "applied", results: answer.results.map(decodeResult) });
    });
  }

  openPackets(links: readonly LinkRef[]): void {
    for (const batch of batchesOf(links)) this.#openPackets(batch);
  }

  #openPackets(batch: readonly LinkRef[]): void {
    const value = { links: batch.map(encodeLinkRef) };
    this.#commands?.send({ $case: "openPackets", value }, (answer) => {
      const results = batch.map(({ ifindex }, index) => {
        const refusal = refusalIn(answer, index);
        return { ifindex, refusal };
      });
      this.#post({ kind: "packets-opened", results });
    });
  }

  closePackets(ifindexes: readonly Ifindex[]): void {
    // Nothing depends on the answer: a port that stays open is closed with the connection.
    this.#commands?.send({ $case: "closePackets", value: { ifindexes } });
  }

  broadcastLegacy(events: readonly LegacyEvent[]): void {
    for (const batch of batchesOf(events)) {
      const value = { events: batch.map(({ ifindex, isUp }) => ({ ifindex, up: isUp })) };
      this.#commands?.send({ $case: "broadcastLegacyEvent", value }, (answer) => {
        const refusals = batch.flatMap((_, index) => refusalIn(answer, index) ?? []);
        const [first] = refusals;
        if (first !== undefined) this.#post({ kind: "legacy-failed", text: first.text });
      });
    }
  }

  /** Resolves when all of ours is gone from the kernel, or is known not to go. */
  async purge(): Promise<void> {
    const client = this.#client;
    if (client === undefined || !this.isReady) return;
    const options = { deadline: Date.now() + PATIENCE_MS };
    await new Promise<void>((resolve) => {
      client.purgeOwned({}, new Metadata(), options, () => resolve());
    });
  }

  /** Sends soon: messages of one turn go in one call. */
  sendDhcp(message: SendDhcp): void {
    this.#queue().dhcp.push(message);
  }

  sendArp(message: SendArp): void {
    this.#queue().arp.push(message);
  }

  watchArp(watch: WatchArp): void {
    this.#queue().watches.push(watch);
  }

  #queue(): Outgoing {
    if (this.#outgoing === undefined) {
      this.#outgoing = { watches: [], arp: [], dhcp: [] };
      queueMicrotask(() => this.#flush());
    }
    return this.#outgoing;
  }

  #flush(): void {
    const outgoing = this.#outgoing;
    this.#outgoing = undefined;
    if (outgoing === undefined) return;
    // Watches first: the answer to a probe must find its watch.
    for (const batch of batchesOf(outgoing.watches)) this.#watchArp(batch);
    for (const batch of batchesOf(outgoing.arp)) this.#sendArp(batch);
    for (const batch of batchesOf(outgoing.dhcp)) this.#sendDhcp(batch);
  }

  #watchArp(batch: readonly WatchArp[]): void {
    const watches = batch.map(({ link, addresses }) => ({
      link: encodeLinkRef(link),
      addresses: [...addresses],
    }));
    const command = { $case: "watchArp", value: { watches } } as const;
    this.#commands?.send(command, this.#failures(batch, "arp-failed"));
  }

  #sendArp(batch: readonly SendArp[]): void {
    const messages = batch.map(({ link, message }) => encodeArpMessage(link, message));
    const command = { $case: "sendArp", value: { messages } } as const;
    this.#commands?.send(command, this.#failures(batch, "arp-failed"));
  }

  #sendDhcp(batch: readonly SendDhcp[]): void {
    const messages = batch.map(({ link, unicast, payload }) => ({
      link: encodeLinkRef(link),
      payload: Buffer.from(payload),
      server: unicast?.server,
      source: unicast?.source,
    }));
    const command = { $case: "sendDhcp", value: { messages } } as const;
    this.#commands?.send(command, this.#failures(batch, "dhcp-send-failed"));
  }

  /** What to do with the answer to a command about these links. */
  #failures(batch: readonly { readonly link: LinkRef }[], kind: "arp-failed" | "dhcp-send-failed") {
    return (answer: Answer): void => {
      for (const [index, { link }] of batch.entries()) {
        const refusal = refusalIn(answer, index);
        if (refusal !== undefined) this.#post({ kind, ifindex: link.ifindex, text: refusal.text });
      }
    };
  }

  #receive(client: GrpcClient): void {
    const drops = new PacketDrops();
    const dhcp = client.receiveDhcp({});
    dhcp.on("data", (item: ReceiveDhcpResponse) => {
      for (const drop of drops.ofDhcp(item)) this.#post(drop);
      const { ifindex, payload, source, problem } = item;
      if (problem !== "") return;
      this.#post({
        kind: "dhcp-packet",
        ifindex: ifindexFromNumber(ifindex),
        payload,
        source: ipv4FromUint32(source),
      });
    });
    const arp = client.receiveArp({});
    arp.on("data", (item: ReceiveArpResponse) => {
      for (const drop of drops.ofArp(item)) this.#post(drop);
      const { ifindex, packet } = item;
      this.#post({ kind: "arp-packet", ifindex: ifindexFromNumber(ifindex), packet });
    });
    this.#streams = [dhcp, arp];
    const perform = client.perform();
    this.#commands = new CommandStream(perform, () => {
      if (client === this.#client) this.#lost(`it has not answered for ${PATIENCE_MS / 1000} s`);
    });
    for (const stream of [dhcp, arp, perform]) {
      stream.on("error", (error: ServiceError) => {
        if (client !== this.#client) return;
        if (error.code === status.ABORTED) this.#yield();
        else this.#lost(describe(error));
      });
      stream.on("end", () => {
        if (client === this.#client) this.#lost("the helper ended the connection");
      });
    }
  }

  #yield(): void {
    const hasLasted = performance.now() - this.#readyAtMs > UNRIVALLED_MS;
    const pauseMs = hasLasted ? FIRST_RIVAL_PAUSE_MS : this.#rivalPauseMs;
    this.#rivalPauseMs = Math.min(pauseMs * 2, LAST_RIVAL_PAUSE_MS);
    const text = "another controller has taken it over; is mnm-controller running twice?";
    this.#lost(text, pauseMs);
  }

  /** @param leastMs it is not tried again sooner */
  #lost(text: string, leastMs = 0): void {
    const wasReady = this.isReady;
    this.#commands?.close();
    this.#commands = undefined;
    this.#client?.close();
    this.#client = undefined;
    this.#streams = [];
    // A helper that ends each connection at once must not be asked 60 times a second.
    const hasLasted = wasReady && performance.now() - this.#readyAtMs > LASTING_MS;
    if (hasLasted) this.#retryMs = FIRST_RETRY_MS;
    if (this.#closed) return;
    // Told once: a helper that starts a moment after us is nothing to make a fuss about.
    if (text !== this.#lastText) this.#post({ kind: "helper-lost", text });
    this.#lastText = text;
    this.#retryTimer = setTimeout(() => this.start(), Math.max(this.#retryMs, leastMs));
    this.#retryMs = Math.min(this.#retryMs * RETRY_GROWTH, LAST_RETRY_MS);
  }
}

/**
 * grpc-js looks every 10 s for connections that nobody uses, and offers no way to say that ours is
 * always in use. Without its timer an idle controller sleeps; closing the client frees all the same.
 */
function stopSweeping(client: GrpcClient): void {
  const path = ["internalChannel", "subchannelPool", "cleanupTimer"];
  const timer = path.reduce<unknown>(
    (value, key) => (value instanceof Object ? Reflect.get(value, key) : undefined),
    client.getChannel(),
  );
  if (isTimer(timer)) clearInterval(timer);
}

function isTimer(value: unknown): value is NodeJS.Timeout {
  return value instanceof Object && "hasRef" in value && "refresh" in value;
}

/** The helper takes 256 items a call, and 64 KiB; DHCP messages have 300 bytes. */
const MESSAGES_PER_CALL = 64;

function* batchesOf<T>(items: readonly T[]): Iterable<readonly T[]> {
  for (let start = 0; start < items.length; start += MESSAGES_PER_CALL) {
    yield items.slice(start, start + MESSAGES_PER_CALL);
  }
}

function refusalIn(answer: Answer, index: number): Refusal | undefined {
  if (answer.kind === "refused") return { ...UNSPECIFIED, text: answer.text };
  const result = answer.results[index];
  const outcome = result === undefined ? undefined : decodeResult(result);
  if (outcome?.kind === "done") return undefined;
  return outcome?.kind === "refused" ? outcome.refusal : UNSPECIFIED;
}

const UNSPECIFIED: Refusal = {
  code: "malformed",
  field: "",
  errno: "",
  kernelText: "",
  text: "the helper gave no answer",
};

/** grpc-js puts the system's words into a sentence of its own; people want the system's. */
function describe(error: ServiceError | null): string {
  if (error === null) return "the helper gave no answer";
  const text = error.details || error.message;
  const errno = /connect (E[A-Z]+)/.exec(text)?.[1];
  if (errno === "ECONNREFUSED") return "nobody listens on its socket; is mnm-helper running?";
  if (errno === "EACCES") return "its socket may not be opened by this user";
  if (/Connection dropped|GOAWAY|Stream closed|CANCELLED/i.test(text))
    return "the connection ended";
  return text;
}
