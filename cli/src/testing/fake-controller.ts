import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type status as Status,
  type sendUnaryData,
} from "@grpc/grpc-js";
import {
  EventKind,
  Fault,
  type Status as HostStatus,
  type Link,
  LinkKind,
  LinkState,
  NetworkManagerService,
  type SubscribeRequest,
  type SubscribeResponse,
} from "@mnm/proto/network-manager";

export type Stream = ServerWritableStream<SubscribeRequest, SubscribeResponse>;

/** What a unary method answers: a message, or a refusal. */
export type Answer = { readonly value: unknown } | { readonly refuse: Refusal };

export interface Refusal {
  readonly code: Status;
  readonly details: string;
  readonly fault?: Fault;
}

export interface Script {
  readonly unary?: Readonly<Record<string, (request: unknown) => Answer | undefined>>;
  readonly subscribe?: (stream: Stream) => void;
}

/** A controller that answers from a script, on a socket in a directory of its own. */
export class FakeController {
  readonly directory = mkdtempSync(join(tmpdir(), "mnmctl-test-"));
  readonly socket = join(this.directory, "controller.sock");
  /** Every unary request, in order. */
  readonly requests: { readonly method: string; readonly request: unknown }[] = [];
  #server: Server | undefined;

  async start(script: Script): Promise<void> {
    const server = new Server();
    const unary =
      (method: string) => (call: { request: unknown }, callback: sendUnaryData<never>) => {
        this.requests.push({ method, request: call.request });
        const answer = script.unary?.[method]?.(call.request);
        if (answer === undefined) return;
        if ("value" in answer) callback(null, answer.value as never);
        else callback({ ...answer.refuse, metadata: metadataOf(answer.refuse.fault) });
      };
    const handlers = Object.keys(NetworkManagerService).map((method) => [
      method,
      method === "subscribe" ? (stream: Stream) => script.subscribe?.(stream) : unary(method),
    ]);
    server.addService(NetworkManagerService, Object.fromEntries(handlers));
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${this.socket}`, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      );
    });
    this.#server = server;
  }

  /** As if it had been killed: connections break, the socket goes. */
  stop(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
    rmSync(this.socket, { force: true });
  }

  remove(): void {
    this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function metadataOf(fault: Fault | undefined): Metadata {
  const metadata = new Metadata();
  if (fault !== undefined) metadata.set("mnm-fault-bin", Buffer.from(Fault.encode(fault).finish()));
  return metadata;
}

export const FAULT: Fault = {
  code: 0,
  text: "",
  hint: "",
  field: "",
  holder: "",
  errno: "",
  kernelText: "",
  problems: [],
  oldestSequence: 0n,
};

/** A link that is not managed; tests say what is different. */
export const LINK: Link = {
  name: "eth0",
  ifindex: 2,
  identity: "name:eth0",
  mac: "02:00:00:00:00:01",
  kind: LinkKind.WIRED,
  state: LinkState.IGNORED,
  method: 0,
  adminUp: true,
  carrier: true,
  slot: 0,
  table: 0,
  metric: 0,
  metricSource: 0,
  addresses: [],
  gateway: "",
  lease: undefined,
  dhcp: undefined,
  fault: undefined,
  sinceMs: 0n,
  sinceBootMs: 0n,
  isDefault: false,
  sharesAddressWith: "",
  mtu: 1500,
  contended: [],
};

export const STATUS: HostStatus = {
  version: "0.3.0",
  instance: "aaaa",
  uptimeMs: 3n * 86_400_000n,
  helper: { state: 1, text: "", version: "0.3.0", capabilities: ["cap_net_admin", "cap_net_raw"] },
  config: { file: "/etc/mnm/mnm.yaml", stale: false, problems: [] },
  defaultLink: "",
  links: [],
  warnings: [],
  lastSequence: 0n,
  settled: true,
  contended: [],
};

/** An item of the event stream: `happening N` on eth0, at the beginning of 1970. */
export function eventItem(sequence: bigint, instance = "aaaa"): SubscribeResponse {
  return {
    item: {
      $case: "event",
      value: {
        sequence,
        instance,
        wallMs: 0n,
        bootMs: 0n,
        link: { identity: "name:eth0", name: "eth0", ifindex: 2 },
        kind: EventKind.UPLINK_USABLE,
        reason: 0,
        before: "",
        after: "",
        text: `happening ${sequence}`,
      },
    },
  };
}
