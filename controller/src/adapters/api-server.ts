import { chmodSync, renameSync, rmSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import {
  Server as GrpcServer,
  type handleUnaryCall,
  ServerCredentials,
  status,
} from "@grpc/grpc-js";
import type { Instant, Result } from "@mnm/proto/net";
import {
  Fault_Code,
  type NetworkManagerServer,
  NetworkManagerService,
  type SubscribeResponse,
} from "@mnm/proto/network-manager";
import type { ConfigProblem } from "../config/index.js";
import type { EngineReply, EngineRequest, HostStatus } from "../engine/index.js";
import type { Journal } from "../events/index.js";
import { type ControllerIdentity, encodeLink, encodeStatus } from "./api-encode.js";
import { type CallRefusal, encodeProblem, refusalOf, refuseWith } from "./api-fault.js";
import { addReflection } from "./reflection.js";
import { Subscription } from "./subscription.js";
import { hasHungUp } from "./sys.js";

export interface ApiDependencies {
  readonly identity: ControllerIdentity;
  readonly journal: Journal;
  readonly now: () => Instant;
  readonly status: () => HostStatus;
  readonly request: (request: EngineRequest) => Promise<EngineReply>;
  /** Reads the configuration file and puts it in force. */
  readonly reload: () => Promise<Result<ReloadOutcome, readonly ConfigProblem[]>>;
  /** Whether the process at the other end may change things. */
  readonly mayChange: (fd: number) => boolean;
  readonly log: { readonly warn: (fields: object, message: string) => void };
}

export interface ReloadOutcome {
  readonly file: string;
  readonly dropped: readonly string[];
}

/** Enough for any call of ours; a flood of HTTP/2 frames must not grow us. */
const CHANNEL_OPTIONS = {
  "grpc.max_receive_message_length": 64 * 1024,
  "grpc.max_concurrent_streams": 32,
  "grpc-node.max_session_memory": 4,
  "grpc.enable_channelz": 0,
};

/** As many may be connected at once; the other descriptors are for ourselves. */
const MOST_CONNECTIONS = 1_000;
/** Connections are looked at this long after one was accepted, and again while there are many. */
const SWEEP_AFTER_MS = 5_000;
const MANY_CONNECTIONS = 32;

/** A subscriber that was cut has this long to read why. */
const CLOSE_AFTER_MS = 5_000;

const serialized = new WeakMap<SubscribeResponse, Buffer>();

/** An event is the same message for all subscribers: it is serialised once. */
const SERVICE: typeof NetworkManagerService = {
  ...NetworkManagerService,
  subscribe: {
    ...NetworkManagerService.subscribe,
    responseSerialize: (response) => {
      const known = serialized.get(response);
      if (known !== undefined) return known;
      const bytes = NetworkManagerService.subscribe.responseSerialize(response);
      serialized.set(response, bytes);
      return bytes;
    },
  },
};

/**
 * The public API on its unix socket. What a connection may do is decided from the peer's credentials
 * before a byte is parsed.
 */
export class ApiServer {
  readonly #dependencies: ApiDependencies;
  readonly #subscriptions = new Set<Subscription>();
  readonly #sockets = new Set<Socket>();
  #listener: Server | undefined;
  #path: string | undefined;
  #sweepTimer: NodeJS.Timeout | undefined;
  #publishing: NodeJS.Immediate | undefined;

  constructor(dependencies: ApiDependencies) {
    this.#dependencies = dependencies;
  }

  /** Listens; fails when another controller already does, or the path cannot be made. */
  async listen(path: string): Promise<void> {
    await refuseIfTaken(path);
    rmSync(`${path}.new`, { force: true });
    const listener = createServer((socket) => this.#accept(socket));
    listener.maxConnections = MOST_CONNECTIONS;
    await new Promise<void>((resolve, reject) => {
      listener.once("error", reject);
      listener.listen(`${path}.new`, resolve);
    });
    // Anybody local may read; who may change things is decided by the peer's credentials.
    chmodSync(`${path}.new`, 0o666);
    // It appears at its place only now, when it answers everybody.
    renameSync(`${path}.new`, path);
    this.#path = path;
    this.#listener = listener;
  }

  /**
   * The journal has grown: every subscriber that reads gets its share, once what the controller
   * itself has to do about it is under way.
   */
  publish(): void {
    this.#publishing ??= setImmediate(() => {
      this.#publishing = undefined;
      for (const subscription of this.#subscriptions) subscription.follow();
    });
  }

  close(): void {
    this.#listener?.close();
    // Node removes the name that it listened on, which is not this one any more.
    if (this.#path !== undefined) rmSync(this.#path, { force: true });
    clearTimeout(this.#sweepTimer);
    for (const socket of this.#sockets) socket.destroy();
  }

  /** A server for each connection: what it may do, and how to close it, go with the connection. */
  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    this.#sweepSoon();
    const server = new GrpcServer(CHANNEL_OPTIONS);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#sockets.delete(socket);
      server.forceShutdown();
    });
    server.addService(SERVICE, this.#handlers(socket));
    addReflection(server);
    server.createConnectionInjector(ServerCredentials.createInsecure()).injectConnection(socket);
  }

  /**
   * Node 20 neither ends nor reads on after some malformed frames, and never learns that the peer
   * has gone: each such connection would keep its descriptor for ever.
   */
  #sweepSoon(): void {
    this.#sweepTimer ??= setTimeout(() => {
      this.#sweepTimer = undefined;
      for (const socket of this.#sockets) if (hasHungUp(fdOf(socket))) socket.destroy();
      if (this.#sockets.size > MANY_CONNECTIONS) this.#sweepSoon();
    }, SWEEP_AFTER_MS);
  }

  #handlers(socket: Socket): NetworkManagerServer {
    const { identity, journal, now, reload, log } = this.#dependencies;
    const mayChange = this.#dependencies.mayChange(fdOf(socket));
    const changing = <Request, Response>(
      method: (request: Request) => Promise<Response | CallRefusal>,
    ) => this.#unary(async (request: Request) => (mayChange ? method(request) : NOT_PERMITTED));
    return {
      getStatus: this.#unary(async () => {
        const time = { now: now(), lastSequence: journal.last };
        return { status: encodeStatus(this.#dependencies.status(), identity, time) };
      }),
      listLinks: this.#unary(async ({ links: names }) => {
        const all = this.#links();
        const missing = names.find((name) => !all.some((link) => link.name === name));
        if (missing !== undefined) return this.#unknownLink(missing);
        return { links: all.filter(({ name }) => names.length === 0 || names.includes(name)) };
      }),
      getLink: this.#unary(async ({ link: name }) => {
        const link = this.#links().find((candidate) => candidate.name === name);
        return link === undefined ? this.#unknownLink(name) : { link };
      }),
      setMetric: changing(async (request) => {
        const reply = await this.#dependencies.request({ kind: "set-metric", ...request });
        if (reply.kind === "refused") return refusalOf(reply.fault);
        return reply.kind === "metric-set" ? encodeMetricSet(reply) : UNEXPECTED;
      }),
      renew: changing(async ({ link }) => {
        const reply = await this.#dependencies.request({ kind: "renew", link });
        return reply.kind === "refused" ? refusalOf(reply.fault) : {};
      }),
      release: changing(async ({ link }) => {
        const reply = await this.#dependencies.request({ kind: "release", link });
        if (reply.kind === "refused") return refusalOf(reply.fault);
        return reply.kind === "released" ? { givenUp: reply.givenUp } : UNEXPECTED;
      }),
      reconnect: changing(async ({ link }) => {
        const reply = await this.#dependencies.request({ kind: "reconnect", link });
        if (reply.kind === "refused") return refusalOf(reply.fault);
        return reply.kind === "reconnecting" ? { givenUp: reply.givenUp } : UNEXPECTED;
      }),
      reload: changing(async () => {
        const outcome = await reload();
        return outcome.ok ? outcome.value : badConfig(outcome.error);
      }),
      subscribe: (call) => {
        const snapshot = () => this.#links();
        const { instance } = identity;
        const onCut = (peer: string) => {
          log.warn({ peer }, "a subscriber that does not read was cut");
          // What was written before may never be read, and then it cannot read the reason either.
          setTimeout(() => socket.destroy(), CLOSE_AFTER_MS).unref();
        };
        const subscription = new Subscription(call, { journal, instance, snapshot, onCut });
        this.#subscriptions.add(subscription);
        const end = () => {
          subscription.close();
          this.#subscriptions.delete(subscription);
        };
        call.on("cancelled", end);
        call.on("close", end);
        call.on("error", end);
      },
    };
  }

  #unary<Request, Response>(
    method: (request: Request) => Promise<Response | CallRefusal>,
  ): handleUnaryCall<Request, Response> {
    return (call, respond) => {
      method(call.request).then(
        (answer) => {
          if (isRefusal(answer)) respond(answer);
          else respond(null, answer);
        },
        (cause: unknown) => {
          // A bug: its text is for the log, never for the socket.
          this.#dependencies.log.warn(
            { method: call.getPath(), cause: String(cause) },
            "call failed",
          );
          respond(UNEXPECTED);
        },
      );
    };
  }

  #links() {
    const time = this.#dependencies.now();
    return this.#dependencies.status().links.map((link) => encodeLink(link, time));
  }

  #unknownLink(link: string): CallRefusal {
    const links = this.#links().map(({ name }) => name);
    // Every link but loopback is in the status, and the kernel's loopback is always lo.
    return refusalOf({ code: link === "lo" ? "loopback" : "no-such-link", link, links });
  }
}

const UNEXPECTED = refuseWith(status.INTERNAL, {
  code: Fault_Code.INTERNAL,
  text: "the controller made a mistake",
  hint: "its log says more",
});

const NOT_PERMITTED = refuseWith(status.PERMISSION_DENIED, {
  code: Fault_Code.NOT_PERMITTED,
  text: "you may read, but not change anything",
  hint: "become root, or a member of group mnm-admin",
});

function badConfig(problems: readonly ConfigProblem[]): CallRefusal {
  const [first] = problems;
  const where =
    first === undefined ? "" : `${first.file}:${first.line}:${first.column}: ${first.text}`;
  return refuseWith(status.INVALID_ARGUMENT, {
    code: Fault_Code.BAD_CONFIG,
    text: `the configuration has ${problems.length === 1 ? "1 problem" : `${problems.length} problems, the first`}: ${where}`,
    hint: "the one before it stays in force",
    problems: problems.map(encodeProblem),
  });
}

function encodeMetricSet(reply: EngineReply & { kind: "metric-set" }) {
  return {
    oldMetric: reply.oldMetric,
    newMetric: reply.newMetric,
    swappedWith: reply.swappedWith,
    oldDefaultLink: reply.oldDefault,
    newDefaultLink: reply.newDefault,
    changes: reply.changes,
    persisted: reply.persisted,
  };
}

function isRefusal(answer: unknown): answer is CallRefusal {
  return (
    typeof answer === "object" && answer !== null && "details" in answer && "metadata" in answer
  );
}

/** A socket that nobody listens on is left over from a kill; one that somebody does is not ours. */
async function refuseIfTaken(path: string): Promise<void> {
  const isTaken = await new Promise<boolean>((resolve) => {
    const probe = createConnection(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (isTaken) throw new Error(`another controller listens on ${path}`);
}

/** Node keeps the descriptor in the handle, and offers no other way to it. */
function fdOf(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { _handle?: { readonly fd: number } };
  return handle?.fd ?? -1;
}
