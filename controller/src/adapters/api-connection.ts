import type { Socket } from "node:net";
import {
  Server as GrpcServer,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptor,
} from "@grpc/grpc-js";
import type { Excess, Visit } from "./admission.js";
import { excessRefusal } from "./api-fault.js";
import {
  CHANNEL_OPTIONS,
  FIRST_CALL_MS,
  GRACE_MS,
  IDLE_MS,
  REFUSED_MS,
  UNARY_MS,
} from "./api-limits.js";
import { meter } from "./meter.js";

export interface ConnectionDependencies {
  readonly visit: Visit;
  readonly addServices: (server: GrpcServer) => void;
  /** How many links there are, which is what a call costs. */
  readonly links: () => number;
  /** A call was refused, or it sent so much that it was cut. */
  readonly onExcess: (of: Excess["of"] | "bytes") => void;
}

/**
 * One connection, from the accepted socket to its end. It has a gRPC server of its own (0.05 ms),
 * because what it may do, and how to close it, go with the connection.
 */
export class ApiConnection {
  readonly #socket: Socket;
  readonly #dependencies: ConnectionDependencies;
  /** Once it is served. */
  #served: { readonly drain: () => void; readonly end: () => void } | undefined;
  #openCalls = 0;
  #deadline: NodeJS.Timeout | undefined;

  constructor(socket: Socket, dependencies: ConnectionDependencies) {
    this.#socket = socket;
    this.#dependencies = dependencies;
    const { visit } = dependencies;
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#closed());
    this.#closeAfter(visit.excess === undefined ? FIRST_CALL_MS : REFUSED_MS);
    const serve = (served: Socket) => this.#serve(served);
    if (visit.isMetered) meter(socket, { take: (bytes) => this.#takeBytes(bytes), serve });
    else serve(socket);
  }

  #serve(socket: Socket): void {
    const server = new GrpcServer({ ...CHANNEL_OPTIONS, interceptors: [this.#interceptor()] });
    this.#dependencies.addServices(server);
    const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#served = {
      drain: () => injector.drain(GRACE_MS),
      end: () => server.forceShutdown(),
    };
    injector.injectConnection(socket);
  }

  /** At once. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** A call at whose beginning it is asked whether there may be one, and whose end is seen. */
  #interceptor(): ServerInterceptor {
    return ({ requestStream, responseStream }, call) =>
      new ServerInterceptingCall(call, {
        start: (proceed) => {
          const { visit, links, onExcess } = this.#dependencies;
          const excess = visit.beginCall(links());
          if (excess !== undefined) {
            onExcess(excess.of);
            call.sendStatus(excessRefusal(excess));
            return;
          }
          const end = this.#beginCall({ isStream: requestStream || responseStream });
          let isUnderWay = false;
          proceed({
            onReceiveMetadata: (metadata, pass) => {
              isUnderWay = true;
              pass(metadata);
            },
            // Comes at the end of every call, when all was sent or nobody is left to send it to.
            onCancel: end,
          });
          // The stream was reset before we came to it: then nothing is called.
          if (!isUnderWay) end();
        },
      });
  }

  #beginCall({ isStream }: { readonly isStream: boolean }): () => void {
    this.#openCalls += 1;
    clearTimeout(this.#deadline);
    const tooLate = isStream ? undefined : setTimeout(() => this.#socket.destroy(), UNARY_MS);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      clearTimeout(tooLate);
      this.#dependencies.visit.endCall();
      this.#openCalls -= 1;
      if (this.#openCalls === 0 && !this.#socket.destroyed) this.#closeAfter(IDLE_MS);
    };
  }

  /** Unless a call begins. Clients that are worth it know what GOAWAY means, and connect again. */
  #closeAfter(ms: number): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => {
      this.#served?.drain();
      this.#deadline = setTimeout(() => this.#socket.destroy(), GRACE_MS);
    }, ms);
  }

  #takeBytes(count: number): boolean {
    const mayRead = this.#dependencies.visit.takeBytes(count);
    if (!mayRead) this.#dependencies.onExcess("bytes");
    return mayRead;
  }

  #closed(): void {
    clearTimeout(this.#deadline);
    this.#served?.end();
    this.#dependencies.visit.leave();
  }
}
