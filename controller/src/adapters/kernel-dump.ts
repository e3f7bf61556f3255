// Full listings of what the kernel holds.
//
// On a socket of our own by libc, read synchronously, and not on the `netlink` package's: the
// kernel puts each part of a dump together inside our send or receive call, so that there is
// nothing to wait for, and a whole snapshot is a dozen calls. The package's socket gives parts to
// the event loop one by one, of 4 KB each as it peeks at them first (the kernel sizes a part by
// the reader's buffer; ours takes 32 KB, an eighth of the calls), ignores NLM_F_DUMP_INTR, and its
// descriptor, on which strict checking has to be set, has to be looked for. What a synchronous
// reader must not do is to block: what foreign software can make long is read in slices, with the
// event loop between them, and of main only the beginning is read.
import { setImmediate as nextTurn } from "node:timers/promises";
import { getSystemErrorName } from "node:util";
import { assertNever, err, type Instant, ok, type Result } from "@mnm/proto/net";
import type { Link } from "../link/index.js";
import {
  type KernelAddress,
  type KernelNotification,
  type KernelRoute,
  type KernelRule,
  type KernelSnapshot,
  MAIN_TABLE,
  MNM_PROTOCOL,
} from "../reconcile/index.js";
import { type DecodeContext, type DeviceTypeOf, decodeNotification } from "./kernel-decode.js";
import {
  AF_INET,
  Attributes,
  encodeRequest,
  type NetlinkMessage,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  RTM,
  splitMessages,
} from "./netlink-message.js";
import {
  closeSocket,
  openRouteSocket,
  receiveFromKernel,
  type SystemFault,
  sendToKernel,
} from "./sys.js";

export type DumpFault =
  /** Something changed meanwhile, so that the listing may lack objects: ask again. */
  { readonly code: "interrupted" } | { readonly code: "failed"; readonly text: string };

export interface KernelDumpDependencies {
  readonly now: () => Instant;
  readonly deviceTypeOf: DeviceTypeOf;
}

interface DumpRequest {
  /** For people: `links`. */
  readonly what: string;
  readonly type: number;
  readonly structure: Uint8Array;
  readonly attributes: readonly (readonly [type: number, value: number])[];
}

/** IFLA_EXT_MASK with RTEXT_FILTER_SKIP_STATS: counters are a third of a link's message. */
const LINKS: DumpRequest = {
  what: "links",
  type: RTM.newLink + 2,
  structure: new Uint8Array(16),
  attributes: [[29, 1 << 3]],
};

const ADDRESSES: DumpRequest = {
  what: "addresses",
  type: RTM.newAddress + 2,
  structure: Uint8Array.of(AF_INET, 0, 0, 0, 0, 0, 0, 0),
  attributes: [],
};

const RULES: DumpRequest = {
  what: "rules",
  type: RTM.newRule + 2,
  structure: Uint8Array.of(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  attributes: [],
};

/** The kernel leaves foreign routes out, which spares us a million of them in other tables. */
const OUR_ROUTES: DumpRequest = {
  what: "routes of MNM",
  type: RTM.newRoute + 2,
  structure: Uint8Array.of(AF_INET, 0, 0, 0, 0, MNM_PROTOCOL, 0, 0, 0, 0, 0, 0),
  attributes: [],
};

/**
 * There is no filter for default routes, but they come first, and the rest is not read:
 * {@link isPastDefaults}.
 */
const MAIN_ROUTES: DumpRequest = {
  what: "routes of main",
  type: RTM.newRoute + 2,
  structure: Uint8Array.of(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  // RTA_TABLE
  attributes: [[15, MAIN_TABLE]],
};

/** linux/netconf.h. The structure is one byte, and padded. */
const NETCONF = { structureLength: 4, ifindex: 1, rpFilter: 3 } as const;
const NETCONFA_IFINDEX_ALL = 0xffff_ffff;

/** Not from /proc/sys, which a sandboxed service may lack (`ProcSubset=pid`). */
const RP_FILTER_ALL: DumpRequest = {
  what: "net.ipv4.conf.all",
  type: RTM.newNetconf + 2,
  structure: Uint8Array.of(AF_INET, 0, 0, 0),
  attributes: [[NETCONF.ifindex, NETCONFA_IFINDEX_ALL]],
};

/** The kernel gives at most 32 KB at once, and more only for one object that needs it. */
const BUFFER_LENGTH = 65_536;

/** 8 times 32 KB are about 5,000 rules or routes and 3 ms. */
const RECEIVES_PER_TURN = 8;

const INTERRUPTED: DumpFault = { code: "interrupted" };

export class KernelDump {
  readonly #dependencies: KernelDumpDependencies;
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_LENGTH);
  #fd: number | undefined;
  #sequence = 0;
  #isClosed = false;
  /** Ends when the last listing that was asked for is read: the socket serves one at a time. */
  #idle: Promise<unknown> = Promise.resolve();

  constructor(dependencies: KernelDumpDependencies) {
    this.#dependencies = dependencies;
  }

  snapshot(): Promise<Result<KernelSnapshot, DumpFault>> {
    return this.#oneAtATime(async () => {
      const listing = new Listing();
      for (const request of [LINKS, ADDRESSES, RULES, OUR_ROUTES, MAIN_ROUTES]) {
        const dumped = await this.#dump(request, listing);
        if (!dumped.ok) return dumped;
        if (request !== RULES || dumped.value <= 1) continue;
        const confirmed = await this.#confirmRules(listing);
        if (!confirmed.ok) return confirmed;
      }
      const rpFilterAll = this.#readRpFilterAll();
      if (!rpFilterAll.ok) return rpFilterAll;
      const { links, addresses, routes, rules } = listing;
      return ok({ links, addresses, routes, rules, rpFilterAll: rpFilterAll.value });
    });
  }

  /** As in a snapshot. For after changes that Linux does not notify: see `kernel-monitor.ts`. */
  routes(): Promise<Result<readonly KernelRoute[], DumpFault>> {
    return this.#oneAtATime(async () => {
      const listing = new Listing();
      for (const request of [OUR_ROUTES, MAIN_ROUTES]) {
        const dumped = await this.#dump(request, listing);
        if (!dumped.ok) return dumped;
      }
      return ok(listing.routes);
    });
  }

  /** What is under way or asked for later fails. */
  close(): void {
    this.#isClosed = true;
    this.#closeSocket();
  }

  #oneAtATime<T>(task: () => Promise<Result<T, DumpFault>>): Promise<Result<T, DumpFault>> {
    const result = this.#idle.then(async () => {
      const outcome = await task();
      // Parts of a listing that failed may still be to come: leave them to the old socket.
      if (!outcome.ok) this.#closeSocket();
      return outcome;
    });
    this.#idle = result;
    return result;
  }

  /**
   * The kernel continues a listing of rules at a position, and does not say when a change has moved
   * them: tried, one is then listed twice or not at all, without NLM_F_DUMP_INTR. (Links and
   * addresses have that flag. Routes do not need it: they are continued at a key.) So what came in
   * several parts, some 480 rules each, counts if it comes twice.
   */
  async #confirmRules(listing: Listing): Promise<Result<undefined, DumpFault>> {
    const again = new Listing();
    const dumped = await this.#dump(RULES, again);
    if (!dumped.ok) return dumped;
    const isSame = JSON.stringify(again.rules) === JSON.stringify(listing.rules);
    return isSame ? ok(undefined) : err(INTERRUPTED);
  }

  /** Resolves to the number of parts that it came in. */
  async #dump(request: DumpRequest, listing: Listing): Promise<Result<number, DumpFault>> {
    const fd = this.#send(request, NLM_F_DUMP);
    if (!fd.ok) return failed(request, fd.error);
    const context = {
      now: this.#dependencies.now(),
      deviceTypeOf: this.#dependencies.deviceTypeOf,
    };
    let parts = 0;
    for (let receives = 1; ; receives++) {
      const messages = this.#receive(fd.value, request);
      if (!messages.ok) return messages;
      parts += partsIn(messages.value);
      const end = listing.read(messages.value, request, context);
      if (end?.ok === false) return end;
      // With the socket goes the rest of the listing.
      if (end?.value === "enough") this.#closeSocket();
      if (end !== undefined) return ok(parts);
      if (receives % RECEIVES_PER_TURN !== 0) continue;
      await nextTurn();
      if (this.#isClosed) return failed(request, CLOSED);
    }
  }

  #readRpFilterAll(): Result<number, DumpFault> {
    const sent = this.#send(RP_FILTER_ALL, 0);
    if (!sent.ok) return failed(RP_FILTER_ALL, sent.error);
    const messages = this.#receive(sent.value, RP_FILTER_ALL);
    if (!messages.ok) return messages;
    const reply = messages.value[0];
    if (reply === undefined) return failed(RP_FILTER_ALL, "no reply");
    if (reply.type === NLMSG_ERROR) return failed(RP_FILTER_ALL, errnoIn(reply.payload));
    const attributes = new Attributes("netconf", reply.payload, NETCONF.structureLength);
    const value = attributes.check(attributes.u32(NETCONF.rpFilter));
    if (!value.ok || value.value === undefined) return failed(RP_FILTER_ALL, "malformed netconf");
    return ok(value.value);
  }

  /** The descriptor that the reply is to be read from. */
  #send(request: DumpRequest, flags: number): Result<number, string> {
    if (this.#isClosed) return err(CLOSED);
    if (this.#fd === undefined) {
      const opened = openRouteSocket();
      if (!opened.ok) return err(formatSystemFault(opened.error));
      this.#fd = opened.value;
    }
    this.#sequence = (this.#sequence + 1) >>> 0;
    const header = { type: request.type, flags, sequence: this.#sequence };
    const bytes = encodeRequest(header, request.structure, request.attributes);
    const sent = sendToKernel(this.#fd, bytes);
    return sent.ok ? ok(this.#fd) : err(formatSystemFault(sent.error));
  }

  /** One datagram's messages that answer the present request; views of the one buffer. */
  #receive(fd: number, request: DumpRequest): Result<readonly NetlinkMessage[], DumpFault> {
    const received = receiveFromKernel(fd, this.#buffer);
    if (!received.ok) return failed(request, formatSystemFault(received.error));
    const { length, senderPort } = received.value;
    if (length > this.#buffer.length) return failed(request, `reply of ${length} bytes`);
    // Any process may send to our port; only the kernel has port 0.
    if (senderPort !== 0) return ok([]);
    const messages = splitMessages(this.#buffer.subarray(0, length));
    if (!messages.ok) return failed(request, `malformed ${messages.error.reason}`);
    return ok(messages.value.filter(({ sequence }) => sequence === this.#sequence));
  }

  #closeSocket(): void {
    if (this.#fd !== undefined) closeSocket(this.#fd);
    this.#fd = undefined;
  }
}

/** What dumps brought, by kind. */
class Listing {
  readonly links: Link[] = [];
  readonly addresses: KernelAddress[] = [];
  readonly routes: KernelRoute[] = [];
  readonly rules: KernelRule[] = [];

  #isInterrupted = false;

  /** How the dump ended, if it ends with these messages or no more of it is wanted. */
  read(
    messages: readonly NetlinkMessage[],
    request: DumpRequest,
    context: DecodeContext,
  ): Result<"complete" | "enough", DumpFault> | undefined {
    for (const message of messages) {
      // Any part may carry the flag, NLMSG_DONE too; the rest is read nevertheless, to its end.
      this.#isInterrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0;
      const end = endOf(message, request);
      if (end !== undefined) return end.ok && this.#isInterrupted ? err(INTERRUPTED) : end;
      const decoded = decodeNotification(message, context);
      if (!decoded.ok) return failed(request, `malformed ${decoded.error.reason}`);
      if (decoded.value !== undefined) this.#add(decoded.value, request);
    }
    const isEnough = request === MAIN_ROUTES && isPastDefaults(messages.at(-1));
    return isEnough ? ok("enough") : undefined;
  }

  #add(object: KernelNotification, request: DumpRequest): void {
    switch (object.kind) {
      case "link":
        this.links.push(object.link);
        return;
      case "address":
        this.addresses.push(object.address);
        return;
      case "rule":
        this.rules.push(object.rule);
        return;
      case "route":
        // Ours in main are in both listings.
        if (request === MAIN_ROUTES && object.route.protocol === MNM_PROTOCOL) return;
        this.routes.push(object.route);
        return;
      case "link-gone":
      case "address-gone":
      case "rule-gone":
      case "route-gone":
        // No dump holds one.
        return;
      default:
        assertNever(object);
    }
  }
}

/** Older kernels send NLMSG_DONE by itself. */
function partsIn([first]: readonly NetlinkMessage[]): number {
  return first?.type === NLMSG_DONE ? 0 : 1;
}

const CLOSED = "closed";
const ENOENT = 2;

/** `struct rtmsg` and RTA_DST, linux/rtnetlink.h. */
const ROUTE = { structureLength: 12, destination: 1 } as const;

/**
 * Whether a listing of main has come past 0.0.0.0, after which no default follows.
 *
 * The kernel keeps a table as a trie and lists it by ascending network (fn_trie_dump in
 * net/ipv4/fib_trie.c, since 2.6.39 for every table), so that the defaults are within the first
 * parts. Tried with a million routes: 0.1 ms instead of 1.5 s and 32 MB of messages.
 */
function isPastDefaults(last: NetlinkMessage | undefined): boolean {
  if (last?.type !== RTM.newRoute || last.payload.length < ROUTE.structureLength) return false;
  const network = new Attributes("route", last.payload, ROUTE.structureLength).ipv4(
    ROUTE.destination,
  );
  return network !== undefined && network !== 0;
}

/** How the listing ended, if this message ends it. */
function endOf(
  { type, payload }: NetlinkMessage,
  request: DumpRequest,
): Result<"complete", DumpFault> | undefined {
  if (type !== NLMSG_DONE && type !== NLMSG_ERROR) return undefined;
  const errno = payload.length < 4 ? 0 : -payload.readInt32LE(0);
  // A table exists from its first route on; main has none in a new network namespace.
  if (errno === 0 || (errno === ENOENT && request === MAIN_ROUTES)) return ok("complete");
  return failed(request, errnoIn(payload));
}

/** NLMSG_ERROR and NLMSG_DONE start with a negative errno. */
function errnoIn(payload: Buffer): string {
  const errno = payload.length < 4 ? 0 : payload.readInt32LE(0);
  return errno < 0 ? getSystemErrorName(errno) : "no reason";
}

function failed(request: DumpRequest, why: string): Result<never, DumpFault> {
  return err({ code: "failed", text: `Cannot list ${request.what}: ${why}` });
}

function formatSystemFault({ code, call }: SystemFault): string {
  return `${call}: ${code}`;
}
