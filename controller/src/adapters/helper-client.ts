import { existsSync } from "node:fs";
import { type ClientReadableStream, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  HelperClient as GrpcClient,
  OperationResult_Outcome,
  type ReceiveDhcpResponse,
} from "@mnm/proto/helper";
import { type Ifindex, type Instant, ifindexFromNumber, ipv4FromUint32 } from "@mnm/proto/net";
import type { EngineEffect, EngineEvent, GroupedOperation } from "../engine/index.js";
import type { LinkRef } from "../link/index.js";
import { decodeResult, encodeLinkRef, encodeOperation } from "./helper-encode.js";

const PROTOCOL_VERSION = 1;
const FIRST_RETRY_MS = 10;
const LAST_RETRY_MS = 500;
const CALL_DEADLINE_MS = 5_000;

export interface HelperClientDependencies {
  readonly post: (event: EngineEvent) => void;
}

type SendDhcp = EngineEffect & { kind: "send-dhcp" };

/**
 * The connection to the helper: kept up for ever, and reported to the engine as it comes and goes.
 *
 * The stream of DHCP packets is what tells that the helper is gone: it ends with it.
 */
export class HelperClient {
  readonly #socketPath: string;
  readonly #post: (event: EngineEvent) => void;
  #client: GrpcClient | undefined;
  #stream: ClientReadableStream<ReceiveDhcpResponse> | undefined;
  #isReady = false;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: NodeJS.Timeout | undefined;
  #lastText = "";
  #outgoing: SendDhcp[] = [];
  #closed = false;

  constructor({ post }: HelperClientDependencies, options: { readonly socketPath: string }) {
    this.#post = post;
    this.#socketPath = options.socketPath;
  }

  /** Begins to connect, and goes on for ever. */
  start(): void {
    // Cheaper than a connection attempt while the helper has not started.
    if (!existsSync(this.#socketPath)) {
      this.#lost(`no socket at ${this.#socketPath}; is mnm-helper running?`);
      return;
    }
    const client = new GrpcClient(`unix:${this.#socketPath}`, credentials.createInsecure(), {
      // A shared subchannel would carry the back-off of the last attempt over to this one.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_receive_message_length": 4 * 1024 * 1024,
    });
    this.#client = client;
    const options = { deadline: Date.now() + CALL_DEADLINE_MS };
    client.hello({ protocolVersion: PROTOCOL_VERSION }, new Metadata(), options, (error, hello) => {
      if (client !== this.#client) return;
      if (error !== null || hello === undefined) {
        this.#lost(describe(error));
        return;
      }
      this.#receive(client);
      this.#isReady = true;
      this.#retryMs = FIRST_RETRY_MS;
      this.#lastText = "";
      const { version, capabilities } = hello;
      this.#post({ kind: "helper-ready", helper: { version, capabilities } });
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    this.#stream?.cancel();
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
    client.openPackets(
      { links: links.map(encodeLinkRef) },
      new Metadata(),
      deadline(),
      (error, response) => {
        if (client !== this.#client) return;
        const refused = { code: "malformed", field: "", errno: "", kernelText: "" } as const;
        const results = links.map(({ ifindex }, index) => {
          const result = response?.results[index];
          const outcome = result === undefined ? undefined : decodeResult(result);
          if (outcome?.kind === "done") return { ifindex, refusal: undefined };
          const refusal =
            outcome?.kind === "refused" ? outcome.refusal : { ...refused, text: describe(error) };
          return { ifindex, refusal };
        });
        this.#post({ kind: "packets-opened", results });
      },
    );
  }

  closePackets(ifindexes: readonly Ifindex[]): void {
    // Nothing depends on the answer: a port that stays open is closed with the connection.
    if (this.#isReady)
      this.#client?.closePackets({ ifindexes }, new Metadata(), deadline(), () => {});
  }

  /** Sends soon: messages of one turn go in one call. */
  sendDhcp(message: SendDhcp): void {
    this.#outgoing.push(message);
    if (this.#outgoing.length === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const outgoing = this.#outgoing;
    this.#outgoing = [];
    const client = this.#client;
    if (client === undefined || !this.#isReady) return;
    // The helper takes at most 256 messages, and 64 KiB, at once.
    for (let start = 0; start < outgoing.length; start += MESSAGES_PER_CALL) {
      this.#send(client, outgoing.slice(start, start + MESSAGES_PER_CALL));
    }
  }

  #send(client: GrpcClient, batch: readonly SendDhcp[]): void {
    const messages = batch.map(({ link, unicast, payload }) => ({
      link: encodeLinkRef(link),
      payload: Buffer.from(payload),
      server: unicast?.server,
      source: unicast?.source,
    }));
    client.sendDhcp({ messages }, new Metadata(), deadline(), (error, response) => {
      if (client !== this.#client) return;
      for (const [index, { link }] of batch.entries()) {
        const result = response?.results[index];
        if (error === null && result?.outcome === OperationResult_Outcome.DONE) continue;
        const text = result?.fault?.text ?? describe(error);
        this.#post({ kind: "dhcp-send-failed", ifindex: link.ifindex, text });
      }
    });
  }

  #receive(client: GrpcClient): void {
    const stream = client.receiveDhcp({});
    this.#stream = stream;
    stream.on("data", ({ ifindex, payload, source }: ReceiveDhcpResponse) => {
      this.#post({
        kind: "dhcp-packet",
        ifindex: ifindexFromNumber(ifindex),
        payload,
        source: ipv4FromUint32(source),
      });
    });
    stream.on("error", (error: ServiceError) => {
      if (client === this.#client) this.#lost(describe(error));
    });
    stream.on("end", () => {
      if (client === this.#client) this.#lost("the helper ended the connection");
    });
  }

  #lost(text: string): void {
    this.#client?.close();
    this.#client = undefined;
    this.#stream = undefined;
    this.#isReady = false;
    if (this.#closed) return;
    // Told once: a helper that starts a moment after us is nothing to make a fuss about.
    if (text !== this.#lastText) this.#post({ kind: "helper-lost", text });
    this.#lastText = text;
    this.#retryTimer = setTimeout(() => this.start(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 1.5, LAST_RETRY_MS);
  }
}

/** 300-byte messages: well within 64 KiB. */
const MESSAGES_PER_CALL = 64;

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
