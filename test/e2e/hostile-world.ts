import { ip4, outcomeOf, prefix4 } from "./helper-rig.js";
import { type Allowed, type Arena, asList, path } from "./hostile-arena.js";
import * as oracle from "./hostile-oracle.js";
import * as packets from "./hostile-oracle-packets.js";
import { addressOwners } from "./hostile-snapshot.js";
import { isMessage, type Message, type Verb } from "./hostile-wire.js";

/** What a hostile controller asks for: one item of a call. */
export interface Ask {
  readonly kind: Kind;
  readonly request: Message;
}

/** The operations of Apply, and the verbs whose items are all alike. */
export type Kind = keyof typeof KINDS;

type Judge = (world: oracle.World, request: Message) => readonly oracle.Code[];

const KINDS = {
  putAddress: oracle.putAddress,
  deleteAddress: oracle.deleteAddress,
  putRoute: oracle.putRoute,
  deleteRoute: oracle.deleteRoute,
  putRule: oracle.putRule,
  deleteRule: oracle.deleteRule,
  putLinkSettings: oracle.putLinkSettings,
  OpenPackets: packets.openPackets,
  SendDhcp: packets.sendDhcp,
  WatchArp: packets.watchArp,
  SendArp: packets.sendArp,
  BroadcastLegacyEvent: packets.legacyEvent,
} as const satisfies Readonly<Record<string, Judge>>;

/** The field of the call that has its items; an operation is one of Apply. */
const FIELDS: Readonly<Partial<Record<Kind, readonly [Verb, string]>>> = {
  OpenPackets: ["OpenPackets", "links"],
  SendDhcp: ["SendDhcp", "messages"],
  WatchArp: ["WatchArp", "watches"],
  SendArp: ["SendArp", "messages"],
  BroadcastLegacyEvent: ["BroadcastLegacyEvent", "events"],
};

/** How one ask ended. */
export interface Answered {
  /** As outcomeOf() of helper-rig.ts says it. */
  readonly outcome: string;
  /** The helper's sentence, empty when it is done. */
  readonly text: string;
}

/**
 * Asks for all of them in one call, or as one command of a stream; they are all operations, or all
 * of one kind.
 */
export async function request(
  arena: Arena,
  asks: readonly Ask[],
  way: "call" | "stream" = "call",
): Promise<readonly Answered[]> {
  const [first] = asks;
  const [verb, field] = (first && FIELDS[first.kind]) ?? (["Apply", "operations"] as const);
  // Of groups of their own, so that none is skipped.
  const items = asks.map(
    ({ kind, request }, group): Message =>
      verb === "Apply" ? { group, [kind]: request } : request,
  );
  const message = { [field]: items };
  const results = await (way === "call"
    ? arena.controller.items(verb, message)
    : arena.controller.items("Perform", { [verb]: message }));
  if (results.length !== asks.length)
    throw new Error(`${results.length} results of ${asks.length}`);
  return results.map((result) => ({ outcome: outcomeOf(result), text: result.fault?.text ?? "" }));
}

/** What the contract says of an ask. */
export interface Verdict {
  /** The codes with which it is to be refused; none: it is allowed. */
  readonly faults: readonly oracle.Code[];
  /** How else than with success an allowed one may end: by the kernel, or by a limit of rate. */
  readonly excuses: readonly string[];
}

/** What the kernel holds, followed from one answer of the helper to the next. */
export class HostileWorld implements oracle.World {
  readonly links: oracle.World["links"];
  readonly main: Allowed["mainMetrics"];
  readonly ports = new Set<number>();
  addresses: readonly oracle.HeldAddress[] = [];
  routes: readonly oracle.HeldRoute[] = [];
  readonly #arena: Arena;

  private constructor(arena: Arena) {
    this.#arena = arena;
    this.links = arena.links;
    this.main = arena.main;
  }

  static async read(arena: Arena): Promise<HostileWorld> {
    const world = new HostileWorld(arena);
    world.addresses = await addressOwners(arena);
    await world.readRoutes();
    return world;
  }

  /** Routes go with their addresses, in ways that are for the kernel to know. */
  async readRoutes(): Promise<void> {
    const text = await this.#arena.rig.ip("-j", "-4", "route", "show", "table", "all");
    const listed = asList(JSON.parse(text));
    this.routes = listed
      .filter((one) => path(one, "tos") === undefined)
      .map((one) => this.#route(one));
  }

  judge({ kind, request }: Ask): Verdict {
    return { faults: KINDS[kind](this, request), excuses: this.#excuses(kind, request) };
  }

  /** Learns from what the helper said to have done. */
  done({ kind, request }: Ask): void {
    if (kind === "putAddress") this.#putAddress(request);
    if (kind === "deleteAddress") {
      this.addresses = this.addresses.filter((held) => !isDeleted(held, request));
    }
    if (kind === "OpenPackets") this.ports.add(oracle.number(request, "ifindex"));
  }

  #putAddress(request: Message): void {
    const ifindex = ifindexOf(request);
    const isHeld = (held: oracle.HeldAddress) =>
      held.ifindex === ifindex && oracle.isSameAddress(held, request);
    if (this.addresses.some(isHeld)) return;
    const address = oracle.number(request, "address");
    const length = oracle.number(request, "prefixLength");
    const peer = oracle.maybe(request, "peer") ?? address;
    const broadcast = oracle.maybe(request, "broadcast");
    this.addresses = [
      ...this.addresses,
      { ifindex, address, length, peer, broadcast, isOurs: true },
    ];
  }

  #excuses(kind: Kind, request: Message): readonly string[] {
    switch (kind) {
      case "putAddress":
        return this.#isOtherwise(request) ? ["kernel_refused EEXIST"] : [];
      case "deleteRule":
        return ["kernel_refused EINVAL"];
      case "putRoute":
        return this.#mayBeUnfit(request) ? ["kernel_refused"] : [];
      case "SendDhcp":
        return ["not_permitted link", "kernel_refused"];
      case "SendArp":
        return ["not_permitted link"];
      default:
        return [];
    }
  }

  /** Whether it is there with another broadcast address, which the kernel does not change. */
  #isOtherwise(request: Message): boolean {
    return this.addresses.some(
      (held) => isDeleted(held, request) && held.broadcast !== oracle.maybe(request, "broadcast"),
    );
  }

  /**
   * On the link, a gateway is what the kernel believes, unless it knows the address as one of its
   * own, on whatever link, or as a broadcast. An address may be a broadcast too, and then is no
   * source: some of the bystanders' are the last of their own prefix.
   */
  #mayBeUnfit(request: Message): boolean {
    const gateway = oracle.maybe(request, "gateway");
    const source = oracle.maybe(request, "preferredSource");
    if (gateway !== undefined && oracle.number(request, "onlink") === 0) return true;
    return this.addresses.some(({ address, peer, length }) => {
      const ends = [oracle.lastOf(peer, length), oracle.networkOf(peer, length)];
      const isEnd = (one: number | undefined) => one !== undefined && ends.includes(one);
      return gateway === address || isEnd(gateway) || (isEnd(source) && length <= 30);
    });
  }

  #route(listed: unknown): oracle.HeldRoute {
    const to = String(path(listed, "dst"));
    const prefix = to === "default" ? "0.0.0.0/0" : to.includes("/") ? to : `${to}/32`;
    const gateway = path(listed, "gateway");
    const link = this.links.find(({ name }) => name === path(listed, "dev"));
    return {
      ...prefix4(prefix),
      table: tableOf(path(listed, "table")),
      metric: Number(path(listed, "metric") ?? 0),
      ifindex: link?.ifindex ?? 0,
      gateway: typeof gateway === "string" ? ip4(gateway) : 0,
      isOurs: path(listed, "protocol") === "77" || path(listed, "protocol") === "mnm",
    };
  }
}

function isDeleted(held: oracle.HeldAddress, request: Message): boolean {
  const isSame =
    held.address === oracle.number(request, "address") &&
    held.length === oracle.number(request, "prefixLength");
  return held.isOurs && isSame && held.ifindex === ifindexOf(request);
}

function ifindexOf(request: Message): number {
  const link = request["link"];
  return isMessage(link) ? oracle.number(link, "ifindex") : 0;
}

/** As iproute2 writes them: main is not written at all. */
function tableOf(table: unknown): number {
  const named: ReadonlyMap<unknown, number> = new Map([
    [undefined, 254],
    ["main", 254],
    ["local", 255],
    ["default", 253],
  ]);
  return named.get(table) ?? Number(table);
}
