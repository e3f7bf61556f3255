import { existsSync } from "node:fs";
import { type ClientReadableStream, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  HelperClient as GrpcClient,
  type OperationResult,
  OperationResult_Outcome,
  type ReceiveArpResponse,
  type ReceiveDhcpResponse,
} from "@mnm/proto/helper";
import { type Ifindex, type Instant, ifindexFromNumber, ipv4FromUint32 } from "@mnm/proto/net";
import type { EngineEffect, EngineEvent, GroupedOperation } from "../engine/index.js";
import type { LinkRef } from "../link/index.js";
import { decodeResult, encodeArpMessage, encodeLinkRef, encodeOperation } from "./helper-encode.js";
import { PacketDrops } from "./packet-drops.js";

const PROTOCOL_VERSION = 1;
const FIRST_RETRY_MS = 10;
const LAST_RETRY_MS = 500;
/** Adds a fifth at most to the time that the helper is away, half a second when that is long. */
const RETRY_GROWTH = 1.2;
/** A connection that ends sooner is no better than none. */
const LASTING_MS = 100;
const CALL_DEADLINE_MS = 5_000;

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

interface Results {
  readonly results: readonly OperationResult[];
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
  #isReady = false;
  #readyAtMs = 0;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: NodeJS.Timeout | undefined;
  #lastText = "";
  #outgoing: Outgoing | undefined;
  #closed = false;

  constructor({ post }: HelperClientDependencies, options: { readonly socketPath: string }) {
    this.#post = post;
    this.#socketPath = options.socketPath;
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
    const options = { deadline: Date.now() + CALL_DEADLINE_MS };
    client.hello({ protocolVersion: PROTOCOL_VERSION }, new Metadata(), options, (error, hello) => {
      if (client !== this.#client) return;
      if (error !== null || hello === undefined) {
        this.#lost(describe(error));
        return;
      }
      stopSweeping(client);
      this.#receive(client);
      this.#isReady = true;
      this.#readyAtMs = performance.now();
      this.#lastText = "";
      const { version, capabilities } = hello;
      this.#post({ kind: "helper-ready", helper: { version, capabilities } });
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    for (const stream of this.#streams) stream.cancel();
    this.#client?.close();
  }

  apply(operations: readonly GroupedOperation[], now: Instant): void {
    const client = this.#client;
    if (client === undefined || !this.#isReady) return;
    const request = { operations: operations.map((operation) => encodeOperation(operation, now)) };
    client.apply(request, new Metadata(), deadline(), (error, response) => {
      if (client !== this.#client) return;
      if (error !== null) this.#post({ kind: "apply-failed", text: describe(error) });
      else this.#post({ kind: "applied", results: response.results.map(decodeResult) });
    });
  }

  openPackets(links: readonly LinkRef[]): void {
    const client = this.#client;
    if (client === undefined || !this.#isReady) return;
    for (const batch of batchesOf(links)) this.#openPackets(client, batch);
  }

  #openPackets(client: GrpcClient, batch: readonly LinkRef[]): void {
    const request = { links: batch.map(encodeLinkRef) };
    client.openPackets(request, new Metadata(), deadline(), (error, response) => {
      if (client !== this.#client) return;
      const refused = { code: "malformed", field: "", errno: "", kernelText: "" } as const;
      const results = batch.map(({ ifindex }, index) => {
        const result = response?.results[index];
        const outcome = result === undefined ? undefined : decodeResult(result);
        if (outcome?.kind === "done") return { ifindex, refusal: undefined };
        const refusal =
          outcome?.kind === "refused" ? outcome.refusal : { ...refused, text: describe(error) };
        return { ifindex, refusal };
      });
      this.#post({ kind: "packets-opened", results });
    });
  }

  closePackets(ifindexes: readonly Ifindex[]): void {
    // Nothing depends on the answer: a port that stays open is closed with the connection.
    if (this.#isReady)
      this.#client?.closePackets({ ifindexes }, new Metadata(), deadline(), () => {});
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
    const client = this.#client;
    if (outgoing === undefined || client === undefined || !this.#isReady) return;
    // Watches first: the answer to a probe must find its watch.
    for (const batch of batchesOf(outgoing.watches)) this.#watchArp(client, batch);
    for (const batch of batchesOf(outgoing.arp)) this.#sendArp(client, batch);
    for (const batch of batchesOf(outgoing.dhcp)) this.#sendDhcp(client, batch);
  }

  #watchArp(client: GrpcClient, batch: readonly WatchArp[]): void {
    const watches = batch.map(({ link, addresses }) => ({
      link: encodeLinkRef(link),
      addresses: [...addresses],
    }));
    client.watchArp(
      { watches },
      new Metadata(),
      deadline(),
      this.#failures(client, batch, "arp-failed"),
    );
  }

  #sendArp(client: GrpcClient, batch: readonly SendArp[]): void {
    const messages = batch.map(({ link, message }) => encodeArpMessage(link, message));
    client.sendArp(
      { messages },
      new Metadata(),
      deadline(),
      this.#failures(client, batch, "arp-failed"),
    );
  }

  #sendDhcp(client: GrpcClient, batch: readonly SendDhcp[]): void {
    const messages = batch.map(({ link, unicast, payload }) => ({
      link: encodeLinkRef(link),
      payload: Buffer.from(payload),
      server: unicast?.server,
      source: unicast?.source,
    }));
    client.sendDhcp(
      { messages },
      new Metadata(),
      deadline(),
      this.#failures(client, batch, "dhcp-send-failed"),
    );
  }

  /** What to do with the answer to a call about these links. */
  #failures<Kind extends "arp-failed" | "dhcp-send-failed">(
    client: GrpcClient,
    batch: readonly { readonly link: LinkRef }[],
    kind: Kind,
  ) {
    return (error: ServiceError | null, response?: Results): void => {
      if (client !== this.#client) return;
      for (const [index, { link }] of batch.entries()) {
        const result = response?.results[index];
        if (error === null && result?.outcome === OperationResult_Outcome.DONE) continue;
        this.#post({ kind, ifindex: link.ifindex, text: result?.fault?.text ?? describe(error) });
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
    for (const stream of this.#streams) {
      stream.on("error", (error: ServiceError) => {
        if (client === this.#client) this.#lost(describe(error));
      });
      stream.on("end", () => {
        if (client === this.#client) this.#lost("the helper ended the connection");
      });
    }
  }

  #lost(text: string): void {
    this.#client?.close();
    this.#client = undefined;
    this.#streams = [];
    // A helper that ends each connection at once must not be asked 60 times a second.
    const hasLasted = this.#isReady && performance.now() - this.#readyAtMs > LASTING_MS;
    if (hasLasted) this.#retryMs = FIRST_RETRY_MS;
    this.#isReady = false;
    if (this.#closed) return;
    // Told once: a helper that starts a moment after us is nothing to make a fuss about.
    if (text !== this.#lastText) this.#post({ kind: "helper-lost", text });
    this.#lastText = text;
    this.#retryTimer = setTimeout(() => this.start(), this.#retryMs);
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

function deadline() {
  return { deadline: Date.now() + CALL_DEADLINE_MS };
}

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
