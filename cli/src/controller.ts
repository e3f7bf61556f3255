import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { err, ok, type Result } from "@mnm/proto/net";
import {
  NetworkManagerService,
  type SubscribeRequest,
  type SubscribeResponse,
} from "@mnm/proto/network-manager";
import { type CallFault, callFaultOf } from "./call-fault.js";

/** A generated description of a unary method. */
interface UnaryMethod<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (value: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

/** How an event stream came to its end. */
export type StreamEnd =
  /** The reader had enough. */
  | { readonly kind: "stopped" }
  | { readonly kind: "interrupted" }
  | { readonly kind: "broken"; readonly fault: CallFault };

export type StreamItem = NonNullable<SubscribeResponse["item"]>;

interface CallOptions {
  /** How long an answer is waited for; 5 s without it. */
  readonly deadlineSec?: number;
}

const DEADLINE_SEC = 5;

/** A queue of connections is full for some milliseconds at a time, whoever floods it. */
const QUEUE_RETRY_MS = 5;

/** 2,000 links of some kilobytes: a status larger than gRPC's 4 MB is possible. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/**
 * A connection to the controller. `use` gets it while it is open.
 *
 * The socket is looked at first: gRPC would report a missing one as "no connection established",
 * and only after it has tried.
 */
export async function withController<T>(
  socket: string,
  use: (controller: Controller) => Promise<Result<T, CallFault>>,
): Promise<Result<T, CallFault>> {
  const path = resolve(socket);
  const obstacle = await obstacleAt(path);
  if (obstacle !== undefined) return err(obstacle);
  const giveUpMs = Date.now() + DEADLINE_SEC * 1000;
  for (;;) {
    const controller = new Controller({ path });
    try {
      const result = await use(controller);
      const mayPass = !result.ok && result.error.code === "queue-full" && Date.now() < giveUpMs;
      if (!mayPass) return result;
    } finally {
      controller.close();
    }
    await delay(QUEUE_RETRY_MS);
  }
}

/** One unary call and nothing else: what most commands need. */
export function callOnce<Request, Response>(
  socket: string,
  method: UnaryMethod<Request, Response>,
  request: Request,
  options?: CallOptions,
): Promise<Result<Response, CallFault>> {
  return withController(socket, (controller) => controller.call(method, request, options));
}

export class Controller {
  readonly #path: string;
  readonly #client: Client;

  constructor(dependencies: { readonly path: string }) {
    this.#path = dependencies.path;
    this.#client = new Client(`unix:${this.#path}`, credentials.createInsecure(), {
      "grpc.max_receive_message_length": MAX_ANSWER_BYTES,
      "grpc.service_config_disable_resolution": 1,
    });
  }

  call<Request, Response>(
    method: UnaryMethod<Request, Response>,
    request: Request,
    { deadlineSec = DEADLINE_SEC }: CallOptions = {},
  ): Promise<Result<Response, CallFault>> {
    return new Promise((settle) => {
      const answer = (error: ServiceError | null, response: Response | undefined) => {
        if (error === null && response !== undefined) settle(ok(response));
        else settle(err(this.#faultOf(error, deadlineSec)));
      };
      const { path, requestSerialize, responseDeserialize } = method;
      const options = { deadline: Date.now() + deadlineSec * 1000 };
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new Metadata(),
        options,
        answer,
      );
    });
  }

  /** Reads the event stream until the reader says stop, the signal comes or the stream breaks. */
  subscribe(
    request: Partial<SubscribeRequest>,
    signal: AbortSignal,
    read: (item: StreamItem) => "go-on" | "stop",
  ): Promise<StreamEnd> {
    const { path, requestSerialize, responseDeserialize } = NetworkManagerService.subscribe;
    const call = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, {
      resumeAfter: undefined,
      links: [],
      kinds: [],
      noSnapshot: false,
      heartbeatMs: 0,
      ...request,
    });
    return new Promise((settle) => {
      const finish = (end: StreamEnd) => {
        signal.removeEventListener("abort", interrupt);
        settle(end);
        call.cancel();
      };
      const interrupt = () => finish({ kind: "interrupted" });
      let hasStopped = false;
      call.on("data", ({ item }: SubscribeResponse) => {
        // What was already received keeps coming after the cancel.
        if (hasStopped || item === undefined) return;
        hasStopped = read(item) === "stop";
        if (hasStopped) finish({ kind: "stopped" });
      });
      call.on("error", (error: ServiceError) =>
        finish({ kind: "broken", fault: this.#faultOf(error) }),
      );
      call.on("end", () => finish({ kind: "broken", fault: this.#faultOf(null) }));
      signal.addEventListener("abort", interrupt);
      if (signal.aborted) interrupt();
    });
  }

  close(): void {
    this.#client.close();
  }

  #faultOf(error: ServiceError | null, seconds: number = DEADLINE_SEC): CallFault {
    if (error !== null) return callFaultOf(error, { path: this.#path, seconds });
    return { code: "connection-lost", path: this.#path, details: "the stream ended" };
  }
}

async function obstacleAt(path: string): Promise<CallFault | undefined> {
  try {
    if (!(await stat(path)).isSocket()) return { code: "not-a-socket", path };
    // Connecting to a unix socket needs the permission to write to it: unix(7).
    await access(path, constants.W_OK);
    return undefined;
  } catch (error) {
    const errno = error instanceof Error && "code" in error ? error.code : undefined;
    if (errno === "EACCES" || errno === "EPERM") return { code: "socket-permission", path };
    return { code: "no-socket", path };
  }
}
