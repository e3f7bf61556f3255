import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { type ChannelOptions, credentials, type ServiceError } from "@grpc/grpc-js";
import type * as pb from "@mnm/proto/helper";
import {
  OperationFault_Code as Code,
  HelperClient,
  type LinkRef,
  type Operation,
  type OperationResult,
  OperationResult_Outcome as Outcome,
} from "@mnm/proto/helper";
import { parseIpv4 } from "@mnm/proto/net";
import { confine, limitsOf, nodeFlagsOf } from "../lab/confinement.js";
import { must } from "../lab/run.js";

export const HELPER_UID = 65533;

let rigs = 0;

/** The helper in a namespace of its own, as the user and with the capabilities it is made for. */
export class HelperRig {
  readonly namespace: string;
  readonly directory = mkdtempSync("/tmp/mnm-helper-rig-");
  readonly socket = `${this.directory}/helper.sock`;
  #helper: ChildProcess | undefined;
  #log = "";
  readonly #others: ChildProcess[] = [];
  readonly #clients: HelperClient[] = [];
  readonly #namespaces: string[] = [];

  constructor() {
    rigs += 1;
    this.namespace = `mnmh-${process.pid}-${rigs}`;
  }

  async start(...args: readonly string[]): Promise<void> {
    if (this.#namespaces.length === 0) await this.addNamespace(this.namespace);
    await must("chown", [`${HELPER_UID}`, this.directory]);
    await must("chmod", ["711", this.directory]);
    await this.startHelper(...args);
  }

  async addNamespace(name: string): Promise<void> {
    await must("ip", ["netns", "add", name]);
    this.#namespaces.push(name);
    await must("ip", ["-n", name, "link", "set", "lo", "up"]);
  }

  /** Resolves when the helper listens, and throws with what it said when it ends before. */
  async startHelper(...args: readonly string[]): Promise<void> {
    const two = "-all,+net_admin,+net_raw";
    const user = [`--reuid=${HELPER_UID}`, `--regid=${HELPER_UID}`, "--clear-groups"];
    const caps = [`--bounding-set=${two}`, `--inh-caps=${two}`, `--ambient-caps=${two}`];
    const flags = nodeFlagsOf("mnm-helper");
    const node = [process.execPath, ...flags, "dist/mnm-helper.js", "--socket", this.socket];
    const filter = confine(limitsOf("mnm-helper", { ownSocket: true }));
    const argv = ["setpriv", ...user, ...caps, "--no-new-privs", ...filter, ...node, ...args];
    const helper = spawn("ip", ["netns", "exec", this.namespace, ...argv]);
    this.#helper = helper;
    this.#log = "";
    helper.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#log += text;
    });
    await until(() => this.#log.includes('"Listening"') || !this.isRunning);
    if (!this.isRunning) throw new Error(`The helper ended: ${helper.signalCode}, ${this.#log}`);
  }

  get pid(): number {
    return this.#helper?.pid ?? 0;
  }

  /** What the helper wrote since it was started. */
  get log(): string {
    return this.#log;
  }

  get isRunning(): boolean {
    return this.#helper?.exitCode === null && this.#helper.signalCode === null;
  }

  /** Runs something else inside of a namespace, until the rig is closed. */
  spawn(namespace: string, ...argv: readonly string[]): ChildProcess {
    const child = spawn("ip", ["netns", "exec", namespace, ...argv], { stdio: "pipe" });
    this.#others.push(child);
    return child;
  }

  ip(...args: readonly string[]): Promise<string> {
    return must("ip", ["-n", this.namespace, ...args]);
  }

  async link(name: string): Promise<LinkRef> {
    const [link] = JSON.parse(await this.ip("-j", "link", "show", "dev", name));
    return linkRef(link.ifindex, name, link.address);
  }

  /** Connects. Each client is a connection of its own. */
  client(more: ChannelOptions = {}): HelperClient {
    const options = { "grpc.use_local_subchannel_pool": 1, ...more };
    const client = new HelperClient(`unix:${this.socket}`, credentials.createInsecure(), options);
    this.#clients.push(client);
    return client;
  }

  async readyClient(): Promise<HelperClient> {
    const client = this.client();
    await hello(client);
    return client;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    for (const child of [...this.#others, this.#helper]) {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await new Promise((resolve) => child.once("exit", resolve));
    }
    for (const name of this.#namespaces) await must("ip", ["netns", "del", name]);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export async function hello(client: HelperClient, protocolVersion = 1) {
  return await verbs(client).hello({ protocolVersion });
}

/** The unary verbs as promises; they reject with the ServiceError. */
export function verbs(client: HelperClient) {
  return {
    hello: (request: pb.HelloRequest) =>
      promise<pb.HelloResponse>((done) => client.hello(request, done)),
    apply: (request: pb.ApplyRequest) =>
      promise<pb.ApplyResponse>((done) => client.apply(request, done)),
    openPackets: (links: readonly pb.LinkRef[]) =>
      promise<pb.OpenPacketsResponse>((done) => client.openPackets({ links }, done)),
    closePackets: (ifindexes: readonly number[]) =>
      promise<pb.ClosePacketsResponse>((done) => client.closePackets({ ifindexes }, done)),
    watchArp: (watches: readonly pb.ArpWatch[]) =>
      promise<pb.WatchArpResponse>((done) => client.watchArp({ watches }, done)),
    sendArp: (messages: readonly pb.ArpMessage[]) =>
      promise<pb.SendArpResponse>((done) => client.sendArp({ messages }, done)),
    purgeOwned: () => promise<pb.PurgeOwnedResponse>((done) => client.purgeOwned({}, done)),
    broadcastLegacyEvent: (events: readonly pb.LegacyEvent[]) =>
      promise<pb.BroadcastLegacyEventResponse>((done) =>
        client.broadcastLegacyEvent({ events }, done),
      ),
    sendDhcp: (messages: readonly pb.DhcpMessage[]) =>
      promise<pb.SendDhcpResponse>((done) => client.sendDhcp({ messages }, done)),
  };
}

function promise<A>(
  start: (done: (error: ServiceError | null, response: A) => void) => unknown,
): Promise<A> {
  return new Promise((resolve, reject) => {
    start((error, response) => (error === null ? resolve(response) : reject(error)));
  });
}

/** Applies the changes, each in a group of its own, and gives the outcomes as short text. */
export async function apply(
  client: HelperClient,
  ...changes: readonly NonNullable<Operation["change"]>[]
): Promise<readonly string[]> {
  const operations = changes.map((change, group) => ({ group, change }));
  const { results } = await verbs(client).apply({ operations });
  return results.map(outcomeOf);
}

/** `done`, `skipped`, or the code and what is known beside it, such as `foreign`. */
export function outcomeOf({ outcome, fault }: OperationResult): string {
  if (outcome === Outcome.DONE) return "done";
  if (outcome === Outcome.SKIPPED) return "skipped";
  const names = Object.entries(Code);
  const name = names.find(([, code]) => code === fault?.code)?.[0] ?? "unknown";
  return [name.toLowerCase(), fault?.field, fault?.errno].filter(Boolean).join(" ");
}

export function linkRef(ifindex: number, name: string, mac: string): LinkRef {
  return { ifindex, name, mac: Buffer.from(mac.replaceAll(":", ""), "hex") };
}

export function ip4(text: string): number {
  const address = parseIpv4(text);
  if (!address.ok) throw new Error(`Not an address: ${text}`);
  return address.value;
}

export function prefix4(text: string): { network: number; length: number } {
  const [network = "", length] = text.split("/");
  return { network: ip4(network), length: Number(length) };
}

/** Waits for something to become true, five seconds at most. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let waited = 0; waited < 5000; waited += 10) {
    if (await condition()) return;
    await delay(10);
  }
  throw new Error("Waited in vain");
}

/** The five capability sets of a process, as hex. */
export function capabilitiesOf(pid: number): Readonly<Record<string, string>> {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Object.fromEntries(
    [...status.matchAll(/^(Cap\w+):\s*(\w+)$/gm)].map(([, k, v]) => [k, v]),
  );
}

export const sleep: (ms: number) => Promise<void> = promisify(setTimeout);
