import type { Socket } from "node:net";
import { type Server as GrpcServer, type handleUnaryCall, status } from "@grpc/grpc-js";
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
import { Admission } from "./admission.js";
import { ApiConnection } from "./api-connection.js";
import { type ControllerIdentity, encodeLink, encodeStatus } from "./api-encode.js";
import { type CallRefusal, encodeProblem, refusalOf, refuseWith } from "./api-fault.js";
import { CUT_MS } from "./api-limits.js";
import { ApiListener } from "./api-listener.js";
import type { Peer } from "./peer-role.js";
import { addReflection } from "./reflection.js";
import { RefusalLog } from "./refusal-log.js";
import { Subscription } from "./subscription.js";

export interface ApiDependencies {
  readonly identity: ControllerIdentity;
  readonly journal: Journal;
  readonly now: () => Instant;
  readonly status: () => HostStatus;
  readonly request: (request: EngineRequest) => Promise<EngineReply>;
  /** Reads the configuration file and puts it in force. */
  readonly reload: () => Promise<Result<ReloadOutcome, readonly ConfigProblem[]>>;
  /** Who is at the other end of a connection. */
  readonly peerOf: (fd: number) => Peer | undefined;
  readonly log: { readonly warn: (fields: object, message: string) => void };
}

export interface ReloadOutcome {
  readonly file: string;
  readonly dropped: readonly string[];
}

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
 * The public API on its unix socket. Whether a connection is wanted, and what it may do, is decided
 * from the peer's credentials before a byte is parsed.
 */
export class ApiServer {
  readonly #dependencies: ApiDependencies;
  readonly #subscriptions = new Set<Subscription>();
  readonly #connections = new Set<ApiConnection>();
  readonly #listener = new ApiListener({ welcome: (fd) => this.#welcome(fd) });
  readonly #admission: Admission;
  readonly #refusals: RefusalLog;
  /** When it was last asked for, which is near enough. */
  #linkCount = 0;
  #publishing: NodeJS.Immediate | undefined;

  constructor(dependencies: ApiDependencies) {
    this.#dependencies = dependencies;
    const { now: nowMs, log } = dependencies;
    this.#admission = new Admission({ nowMs });
    this.#refusals = new RefusalLog({ nowMs, log });
  }

  /** Listens; fails when another controller already does, or the path cannot be made. */
  listen(path: string): Promise<void> {
    return this.#listener.listen(path);
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

  /** Whether those who connect to the path come to us: anybody with the right may have removed it. */
  get isReachable(): boolean {
    return this.#listener.isReachable;
  }

  close(): void {
    this.#listener.close();
    for (const connection of this.#connections) connection.destroy();
  }

  /** Runs before a byte is read, and in a flood before anything is made for it. */
  #welcome(fd: number): ((socket: Socket) => void) | undefined {
    const peer = this.#dependencies.peerOf(fd);
    if (peer === undefined) return undefined;
    const { visit, excess } = this.#admission.connect(peer);
    if (excess !== undefined) this.#refusals.note(peer.uid, excess.of);
    if (visit === undefined) return undefined;
    return (socket) => {
      const connection = new ApiConnection(socket, {
        visit,
        links: () => this.#linkCount,
        onExcess: (of) => this.#refusals.note(peer.uid, of),
        addServices: (server) => this.#addServices(server, socket, peer),
      });
      this.#connections.add(connection);
      socket.on("close", () => this.#connections.delete(connection));
    };
  }

  #addServices(server: GrpcServer, socket: Socket, peer: Peer): void {
    server.addService(SERVICE, this.#handlers(socket, peer));
    addReflection(server);
  }

  #handlers(socket: Socket, { role }: Peer): NetworkManagerServer {
    const { identity, journal, now, reload, log } = this.#dependencies;
    const mayChange = role !== "reader";
    const changing = <Request, Response>(
      method: (request: Request) => Promise<Response | CallRefusal>,
    ) => this.#unary(async (request: Request) => (mayChange ? method(request) : NOT_PERMITTED));
    return {
      getStatus: this.#unary(async () => {
        const time = { now: now(), lastSequence: journal.last };
        return { status: encodeStatus(this.#status(), identity, time) };
      }),
      listLinks: this.#unary(async ({ links: names }) => {
        const all = this.#links();
        // A request has room for some 20,000 names.
        const wanted = new Set(names);
        const known = new Set(all.map(({ name }) => name));
        const missing = names.find((name) => !known.has(name));
        if (missing !== undefined) return this.#unknownLink(missing);
        return { links: all.filter(({ name }) => names.length === 0 || wanted.has(name)) };
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
          setTimeout(() => socket.destroy(), CUT_MS).unref();
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

  #status(): HostStatus {
    const status = this.#dependencies.status();
    this.#linkCount = status.links.length;
    return status;
  }

  #links() {
    const time = this.#dependencies.now();
    return this.#status().links.map((link) => encodeLink(link, time));
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
