import type { Socket } from "node:net";
import {
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  status,
} from "@grpc/grpc-js";
import {
  type HelloRequest,
  type HelloResponse,
  type HelperServer,
  HelperService,
  type ReceiveDhcpRequest,
  type ReceiveDhcpResponse,
} from "@mnm/proto/helper";
import type { ReceivedDhcp } from "./packet-port.js";
import { CallError, type VerbContext, Verbs } from "./verbs.js";

/** The version of the contract that is spoken here. */
export const PROTOCOL_VERSION = 1;

/** A connection that has not said Hello after this time is closed. */
const HELLO_DEADLINE_MS = 2000;

/** DHCP replies that wait for a slow peer. */
const MOST_QUEUED = 256;

const OPTIONS = {
  "grpc.max_receive_message_length": 64 * 1024,
  "grpc.max_concurrent_streams": 8,
  // In megabytes. Without it a peer may make a session as large as it likes.
  "grpc-node.max_session_memory": 2,
  "grpc.enable_channelz": 0,
};

type DhcpStream = ServerWritableStream<ReceiveDhcpRequest, ReceiveDhcpResponse>;

type State =
  | { readonly kind: "new"; readonly deadline: NodeJS.Timeout }
  | { readonly kind: "ready"; readonly verbs: Verbs; readonly stream: DhcpStream | undefined }
  | { readonly kind: "closed" };

export interface ConnectionDependencies {
  readonly context: VerbContext;
  readonly hello: HelloResponse;
  /** Called when Hello is right, before anything else is done. */
  readonly onReady: (connection: Connection) => void;
  readonly onClosed: (connection: Connection) => void;
}

/**
 * One connection, from the accepted socket to its end: `new → ready → closed`.
 *
 * Each has a gRPC server of its own (0.02 ms), because on a unix socket all peers have the same
 * name, so that a shared server could not tell who said Hello and who did not.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #server = new Server(OPTIONS);
  readonly #dependencies: ConnectionDependencies;
  #state: State;

  constructor(socket: Socket, dependencies: ConnectionDependencies) {
    this.#socket = socket;
    this.#dependencies = dependencies;
    const deadline = setTimeout(() => this.close("It never said Hello"), HELLO_DEADLINE_MS);
    this.#state = { kind: "new", deadline };
    // A peer that goes away in the middle of a message is nothing to end for.
    socket.on("error", (cause) => this.close(cause.message));
    socket.on("close", () => this.close("The peer closed it"));
    this.#server.addService(HelperService, this.#service());
    const credentials = ServerCredentials.createInsecure();
    this.#server.createConnectionInjector(credentials).injectConnection(socket);
  }

  close(reason: string): void {
    const state = this.#state;
    if (state.kind === "closed") return;
    this.#state = { kind: "closed" };
    if (state.kind === "new") clearTimeout(state.deadline);
    else state.verbs.close();
    this.#dependencies.context.log.info("Connection closed", { reason });
    this.#server.forceShutdown();
    // The socket as well: after a malformed frame Node 20 forgets the session and keeps the
    // file descriptor for ever.
    this.#socket.destroy();
    this.#dependencies.onClosed(this);
  }

  #service(): HelperServer {
    return {
      hello: this.#unary((request: HelloRequest) => this.#hello(request)),
      apply: this.#unary((request) => this.#ready().verbs.apply(request)),
      openPackets: this.#unary((request) => this.#ready().verbs.openPackets(request)),
      closePackets: this.#unary((request) => this.#ready().verbs.closePackets(request)),
      sendDhcp: this.#unary((request) => this.#ready().verbs.sendDhcp(request)),
      receiveDhcp: (call) => this.#receiveDhcp(call),
    };
  }

  #unary<Request, Response>(
    run: (request: Request) => Response,
  ): handleUnaryCall<Request, Response> {
    return (call, respond) => {
      try {
        respond(null, run(call.request));
      } catch (cause) {
        respond(this.#refusal(cause));
      }
    };
  }

  /**
   * What a call ends with instead of an answer. Any exception but CallError is a bug here, but a
   * peer may have found it, so it does not end the helper; its text goes to the log and never to
   * the caller, which runs with less privilege.
   */
  #refusal(cause: unknown): CallError {
    const { log } = this.#dependencies.context;
    if (cause instanceof CallError) {
      log.warn("Call refused", { reason: cause.message });
      return cause;
    }
    log.warn("Call crashed", { cause: cause instanceof Error ? cause.stack : String(cause) });
    return new CallError(status.INTERNAL, "A bug in the helper; see its log");
  }

  #hello({ protocolVersion }: HelloRequest): HelloResponse {
    const { hello, context, onReady } = this.#dependencies;
    if (this.#state.kind !== "new") throw this.#outOfOrder();
    if (protocolVersion !== hello.protocolVersion) {
      const text = `Version ${protocolVersion} of the contract is not ${hello.protocolVersion}`;
      throw new CallError(status.FAILED_PRECONDITION, text);
    }
    clearTimeout(this.#state.deadline);
    const verbs = new Verbs(context, (dhcp) => this.#deliver(dhcp));
    this.#state = { kind: "ready", verbs, stream: undefined };
    onReady(this);
    return hello;
  }

  #ready(): Extract<State, { kind: "ready" }> {
    if (this.#state.kind !== "ready") throw this.#outOfOrder();
    return this.#state;
  }

  #outOfOrder(): CallError {
    this.close("A verb outside of its state");
    return new CallError(status.FAILED_PRECONDITION, "Hello comes first, and once");
  }

  #receiveDhcp(call: DhcpStream): void {
    call.on("error", () => {});
    try {
      const state = this.#ready();
      const second = "This connection has its stream already";
      if (state.stream !== undefined) throw new CallError(status.ALREADY_EXISTS, second);
      this.#state = { ...state, stream: call };
    } catch (cause) {
      call.emit("error", this.#refusal(cause));
      return;
    }
    call.on("cancelled", () => {
      if (this.#state.kind === "ready") this.#state = { ...this.#state, stream: undefined };
    });
    // At once, so that the caller knows that it misses nothing from now on.
    call.sendMetadata(new Metadata());
  }

  #deliver({ ifindex, payload, source }: ReceivedDhcp): boolean {
    const stream = this.#state.kind === "ready" ? this.#state.stream : undefined;
    // Servers and clients of DHCP repeat themselves; our memory is not theirs to fill.
    if (stream === undefined || stream.writableLength >= MOST_QUEUED) return false;
    stream.write({ ifindex, payload: Buffer.from(payload), source });
    return true;
  }
}
