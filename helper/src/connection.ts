import type { Socket } from "node:net";
import {
  type handleBidiStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Server,
  ServerCredentials,
  status,
} from "@grpc/grpc-js";
import {
  type HelloRequest,
  type HelloResponse,
  type HelperServer,
  HelperService,
  type PerformRequest,
  type PerformResponse,
} from "@mnm/proto/helper";
import { dispatch } from "./apply.js";
import { CallError } from "./call-error.js";
import { log } from "./log.js";
import type { PacketStream } from "./packet-stream.js";
import type { Peer } from "./sys.js";
import { type SharedContext, Verbs } from "./verbs.js";

/** The version of the contract that is spoken here. */
export const PROTOCOL_VERSION = 1;

/** A connection that has not said Hello after this time is closed. */
const HELLO_DEADLINE_MS = 2000;

/** What is said last needs a moment to leave, and waits no longer for a peer that hangs. */
const FAREWELL_MS = 50;

const OPTIONS = {
  "grpc.max_receive_message_length": 64 * 1024,
  "grpc.max_concurrent_streams": 8,
  // In megabytes. Without it a peer may make a session as large as it likes.
  "grpc-node.max_session_memory": 2,
  "grpc.enable_channelz": 0,
};

type State =
  | { readonly kind: "new"; readonly deadline: NodeJS.Timeout }
  | { readonly kind: "ready"; readonly verbs: Verbs }
  | { readonly kind: "closed" };

type Command = NonNullable<PerformRequest["command"]>;

export interface ConnectionDependencies {
  readonly context: SharedContext;
  readonly hello: HelloResponse;
  readonly peer: Peer;
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
    socket.on("close", () => {
      this.close("The peer closed it");
      // After a malformed frame a listener of Node's own holds the error, whose stack holds the
      // session, whose settings hold us and this socket: for ever, since half of it is not V8's.
      socket.removeAllListeners("close");
    });
    this.#server.addService(HelperService, this.#service());
    const credentials = ServerCredentials.createInsecure();
    this.#server.createConnectionInjector(credentials).injectConnection(socket);
  }

  /** Another connection takes the place of this one, and its controller is told so. */
  replace(): void {
    const reason = new CallError(status.ABORTED, "Another controller said Hello");
    if (this.#state.kind === "ready") this.#state.verbs.dhcp.end(reason);
    this.close("A newer one said Hello", FAREWELL_MS);
  }

  close(reason: string, delayMs = 0): void {
    const state = this.#state;
    if (state.kind === "closed") return;
    this.#state = { kind: "closed" };
    if (state.kind === "new") clearTimeout(state.deadline);
    else state.verbs.close();
    log.info("Connection closed", { reason });
    this.#dependencies.onClosed(this);
    if (delayMs > 0) setTimeout(() => this.#end(), delayMs);
    else this.#end();
  }

  #end(): void {
    this.#server.forceShutdown();
    // The socket as well: after a malformed frame Node 20 forgets the session and keeps the
    // file descriptor for ever.
    this.#socket.destroy();
  }

  #service(): HelperServer {
    return {
      hello: this.#unary((request: HelloRequest) => this.#hello(request)),
      apply: this.#unary((request) => this.#verbs().apply(request)),
      openPackets: this.#unary((request) => this.#verbs().openPackets(request)),
      closePackets: this.#unary((request) => this.#verbs().closePackets(request)),
      sendDhcp: this.#unary((request) => this.#verbs().sendDhcp(request)),
      receiveDhcp: this.#streaming(() => this.#verbs().dhcp),
      watchArp: this.#unary((request) => this.#verbs().watchArp(request)),
      sendArp: this.#unary((request) => this.#verbs().sendArp(request)),
      receiveArp: this.#streaming(() => this.#verbs().arp),
      perform: (call) => this.#performing(call),
      purgeOwned: this.#unary(() => this.#verbs().purgeOwned()),
      broadcastLegacyEvent: this.#unary((request) => this.#verbs().broadcastLegacyEvent(request)),
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

  #performing(call: Parameters<handleBidiStreamingCall<PerformRequest, PerformResponse>>[0]): void {
    call.on("error", () => {});
    call.on("end", () => call.end());
    call.on("data", (request: PerformRequest) => {
      if (call.write(this.#performed(request))) return;
      // Who does not read its answers gets none more, and our memory stays as it is.
      call.pause();
      call.once("drain", () => call.resume());
    });
  }

  #performed({ command }: PerformRequest): PerformResponse {
    try {
      const verbs: Pick<Verbs, Command["$case"]> = this.#verbs();
      const malformed = "command must be present and known";
      if (command === undefined) throw new CallError(status.INVALID_ARGUMENT, malformed);
      const answer: { readonly results?: PerformResponse["results"] } = dispatch(verbs, command);
      return { results: answer.results ?? [], status: status.OK, text: "" };
    } catch (cause) {
      const { code, message } = this.#refusal(cause);
      return { results: [], status: code, text: message };
    }
  }

  #streaming<Request, Packet extends { readonly ifindex: number }>(
    streamOf: () => PacketStream<Packet>,
  ): handleServerStreamingCall<Request, Packet> {
    return (call) => {
      call.on("error", () => {});
      try {
        streamOf().open(call);
      } catch (cause) {
        call.emit("error", this.#refusal(cause));
      }
    };
  }

  /**
   * What a call ends with instead of an answer. Any exception but CallError is a bug here, but a
   * peer may have found it, so it does not end the helper; its text goes to the log and never to
   * the caller, which runs with less privilege.
   */
  #refusal(cause: unknown): CallError {
    if (cause instanceof CallError) {
      log.warn("Call refused", { reason: cause.message });
      return cause;
    }
    log.warn("Call crashed", { cause: cause instanceof Error ? cause.stack : String(cause) });
    return new CallError(status.INTERNAL, "A bug in the helper; see its log");
  }

  #hello({ protocolVersion }: HelloRequest): HelloResponse {
    const { hello, context, peer, onReady } = this.#dependencies;
    if (this.#state.kind !== "new") throw this.#outOfOrder();
    if (protocolVersion !== hello.protocolVersion) {
      const text = `Version ${protocolVersion} of the contract is not ${hello.protocolVersion}`;
      throw new CallError(status.FAILED_PRECONDITION, text);
    }
    clearTimeout(this.#state.deadline);
    this.#state = { kind: "ready", verbs: new Verbs({ ...context, peer }) };
    onReady(this);
    return hello;
  }

  #verbs(): Verbs {
    if (this.#state.kind !== "ready") throw this.#outOfOrder();
    return this.#state.verbs;
  }

  #outOfOrder(): CallError {
    this.close("A verb outside of its state");
    return new CallError(status.FAILED_PRECONDITION, "Hello comes first, and once");
  }
}
