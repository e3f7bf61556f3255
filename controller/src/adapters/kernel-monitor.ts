// The kernel's notifications of links, IPv4 addresses, routes and rules.
//
// They are not the whole truth. Tried on Linux 6.18 (kernel.netns.test.ts repeats most of it), what
// it changes without a word:
//
// - A link goes admin down: all routes through it, in every table, are gone; only RTM_NEWLINK comes.
//   Its addresses stay. Up again: nothing comes back but the kernel's own connected routes.
// - A link is deleted, or moves to another network namespace: RTM_NEWLINK (down), RTM_DELADDR for
//   each address and RTM_DELLINK come; for its routes nothing.
// - The last IPv4 address of a link is deleted or expires: all routes through the link are gone, in
//   every table. RTM_DELROUTE comes only for those of main that had it as preferred source.
// - Another address of the link is left: only main's routes with the deleted one as preferred source
//   go, and RTM_DELROUTE comes. Routes in other tables that name it as preferred source stay.
// - Carrier lost: no route goes; they become `linkdown`, which is not notified either.
// - Rules are never removed by the kernel. One with the name of a link that is gone stays detached.
// - Routes without a link (unreachable) always stay.
// - RTM_SETLINK with IFLA_INET_CONF: RTM_NEWLINK with the new values if the link is admin up (even if
//   nothing changed), and nothing if it is down.
// - A write to /proc/sys/net/ipv4/conf/X: RTM_NEWNETCONF for rp_filter and
//   ignore_routes_with_linkdown (never RTM_NEWLINK), nothing for arp_ignore, arp_announce and
//   promote_secondaries.
//
// Who asked for a change is in nlmsg_pid of RTM_*ADDR, RTM_*ROUTE and RTM_*RULE, and 0 where nobody
// did by netlink; RTM_*LINK and RTM_NEWNETCONF never say.
//
// So routes have to be dumped again after each `link` without adminUp, `link-gone` and
// `address-gone`, and only an audit finds a change of the last three settings.
import { setTimeout as startTimer } from "node:timers";
import type { Instant } from "@mnm/proto/net";
import { type MessageInfo, RawNetlinkSocket } from "netlink/dist/raw.js";
import { type KernelNotification, MAIN_TABLE, MNM_PROTOCOL } from "../reconcile/index.js";
import { type DeviceTypeOf, decodeNotification } from "./kernel-decode.js";
import {
  Attributes,
  type NetlinkMessage,
  NLM_F_REPLACE,
  RT_TABLE_COMPAT,
  RTM,
  splitMessages,
} from "./netlink-message.js";
import {
  attachFilter,
  droppedDatagrams,
  type FilterInstruction,
  routeSocketOfPort,
  withoutOverrunErrors,
} from "./sys.js";

export interface KernelMonitorDependencies {
  readonly now: () => Instant;
  readonly deviceTypeOf: DeviceTypeOf;
}

export interface KernelMonitorListener {
  /** In the kernel's order: what arrived in one turn of the event loop, never empty. */
  readonly onNotifications: (batch: readonly KernelNotification[]) => void;
  /**
   * Notifications were lost: dump everything again. The monitor listens already, and delivers
   * nothing from before any more, so a dump that starts now misses nothing.
   */
  readonly onOverrun: (reason: string) => void;
  /**
   * A setting of a link or of conf/all was written to through /proc/sys: links have to be dumped
   * again, as the notification has neither the link nor all of its settings. Where this is left
   * out, it is reported as an overrun.
   */
  readonly onSettingChanged?: () => void;
}

export interface KernelMonitorOptions {
  /** In bytes. The kernel takes at most net.core.rmem_max, and doubles it. */
  readonly receiveBuffer?: number;
}

const NETLINK_ROUTE = 0;

/** RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV4_NETCONF. */
const GROUPS = [1, 5, 7, 8, 24];

const DEFAULT_RECEIVE_BUFFER = 8 * 1024 * 1024;

/** Until the next try when no socket can be opened, for want of descriptors or memory. */
const RESUBSCRIBE_MS = 100;

/**
 * The package's socket, and its descriptor.
 *
 * The package (0.3.0) aborts the whole process when poll(2) finds an error on its socket, and ENOBUFS
 * is such an error whenever notifications are lost while the event loop does something else. So the
 * kernel is told not to raise it, and its count of lost datagrams is looked at after each read.
 * None is lost that no read follows: one is lost only where the queue is full.
 */
interface Subscription {
  readonly socket: RawNetlinkSocket;
  readonly fd: number;
}

/** Listens from its construction until `close`; calls its listener only from the event loop. */
export class KernelMonitor {
  readonly #dependencies: KernelMonitorDependencies;
  readonly #listener: KernelMonitorListener;
  readonly #receiveBuffer: number;
  #subscription: Subscription | undefined;
  #batch: KernelNotification[] = [];
  #overrun: string | undefined;
  #isSettingWritten = false;
  #isFlushDue = false;
  #isClosed = false;

  /** Throws where the system has no netlink socket for us, as nothing would work. */
  constructor(
    dependencies: KernelMonitorDependencies,
    listener: KernelMonitorListener,
    { receiveBuffer = DEFAULT_RECEIVE_BUFFER }: KernelMonitorOptions = {},
  ) {
    this.#dependencies = dependencies;
    this.#listener = listener;
    this.#receiveBuffer = receiveBuffer;
    this.#subscription = this.#subscribe();
  }

  close(): void {
    this.#isClosed = true;
    this.#subscription?.socket.close();
    this.#subscription = undefined;
  }

  #subscribe(): Subscription {
    const options = { recvBufferSize: this.#receiveBuffer, sendBufferSize: 0 };
    const socket = new RawNetlinkSocket(NETLINK_ROUTE, options);
    socket.on("message", (datagram, sender) => this.#receive(socket, datagram, sender));
    socket.on("truncatedMessage", () => this.#lose(socket, "truncated message"));
    socket.on("error", ({ code }) => this.#lose(socket, code));
    try {
      const fd = routeSocketOfPort(socket.address().port);
      if (fd === undefined) throw new Error("The socket's descriptor was not found");
      const quiet = withoutOverrunErrors(fd);
      if (!quiet.ok) throw new Error(`${quiet.error.call} said ${quiet.error.code}`);
      // Without it everything works as well, only dearer, so that a refusal is no fault.
      attachFilter(fd, WITHOUT_FOREIGN_ROUTES);
      for (const group of GROUPS) socket.addMembership(group);
      return { socket, fd };
    } catch (cause) {
      socket.close();
      throw new Error("Cannot listen to the kernel's notifications", { cause });
    }
  }

  #receive(socket: RawNetlinkSocket, datagram: Buffer, sender: MessageInfo): void {
    // What a socket still had when it was given up is not news.
    if (socket !== this.#subscription?.socket) return;
    this.#flushSoon();
    // Only the kernel has port 0.
    if (sender.port !== 0) return;
    const messages = splitMessages(datagram);
    if (!messages.ok) {
      this.#lose(socket, `malformed ${messages.error.reason}`);
      return;
    }
    const context = {
      now: this.#dependencies.now(),
      deviceTypeOf: this.#dependencies.deviceTypeOf,
    };
    for (const message of messages.value) {
      if (isSettingWritten(message)) this.#isSettingWritten = true;
      const decoded = decodeNotification(message, context);
      if (!decoded.ok) {
        this.#lose(socket, `malformed ${decoded.error.reason}`);
        return;
      }
      const { value } = decoded;
      if (value === undefined) continue;
      this.#batch.push(message.port === 0 ? value : { ...value, requester: message.port });
    }
  }

  /**
   * Replaces the socket. What is left in the old one is older than what was lost: delivered after
   * the dump, an addition whose removal is among the lost would bring back what is gone.
   */
  #lose(socket: RawNetlinkSocket, reason: string): void {
    if (socket !== this.#subscription?.socket) return;
    this.#subscription = undefined;
    // Not here: the native part may be in the middle of reading from it.
    setImmediate(() => {
      socket.close();
      this.#resubscribe(reason);
    });
  }

  #resubscribe(reason: string): void {
    if (this.#isClosed) return;
    try {
      this.#subscription = this.#subscribe();
      this.#overrun = reason;
      this.#flushSoon();
    } catch {
      startTimer(() => this.#resubscribe(reason), RESUBSCRIBE_MS);
    }
  }

  /** Immediates run after all sockets were read, so a burst becomes one batch. */
  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    const batch = this.#batch;
    const overrun = this.#overrun;
    const isSettingWritten = this.#isSettingWritten;
    this.#batch = [];
    this.#overrun = undefined;
    this.#isSettingWritten = false;
    this.#isFlushDue = false;
    if (this.#isClosed) return;
    if (this.#subscription !== undefined && droppedDatagrams(this.#subscription.fd) > 0) {
      this.#lose(this.#subscription.socket, "ENOBUFS");
    }
    const { onNotifications, onOverrun, onSettingChanged } = this.#listener;
    if (batch.length > 0) onNotifications(batch);
    if (overrun !== undefined) onOverrun(overrun);
    else if (isSettingWritten && onSettingChanged !== undefined) onSettingChanged();
    else if (isSettingWritten) onOverrun("setting written");
  }
}

/** linux/netconf.h. */
const NETCONF = { structureLength: 4, forwarding: 2, rpFilter: 3, ignoreLinkdown: 6 } as const;

/**
 * Whether it tells of a write to /proc/sys/net/ipv4/conf: which has one value, and no link with it.
 * A new link's message has all of them; then an RTM_NEWLINK follows that knows better.
 */
function isSettingWritten({ type, payload }: NetlinkMessage): boolean {
  if (type !== RTM.newNetconf) return false;
  const attributes = new Attributes("netconf", payload, NETCONF.structureLength);
  if (attributes.has(NETCONF.forwarding)) return false;
  return attributes.has(NETCONF.rpFilter) || attributes.has(NETCONF.ignoreLinkdown);
}

/** Classic BPF, linux/bpf_common.h: load half-word or byte at an offset, jump if equal or set, return. */
const LDH = 0x28;
const LDB = 0x30;
const JEQ = 0x15;
const JSET = 0x45;
const RET = 0x06;

/**
 * Drops in the kernel what the decoder would ignore, before it takes room in the receive buffer: a
 * routing daemon that installs a million routes then costs us nothing and loses us nothing. Loads
 * are big-endian, so RTM_NEWROUTE, 24 in host order, is 0x1800, and NLM_F_REPLACE, 0x100, is 1.
 */
const WITHOUT_FOREIGN_ROUTES: readonly FilterInstruction[] = [
  load(LDH, 4), // 0: nlmsg_type
  jump(JEQ, RTM.newRoute << 8, 1, 0), // 1: yes, go to 3
  jump(JEQ, (RTM.newRoute + 1) << 8, 0, 10), // 2: no, take it
  load(LDB, 16 + 5), // 3: rtm_protocol
  jump(JEQ, MNM_PROTOCOL, 8, 0), // 4: yes, take it
  load(LDB, 16 + 4), // 5: rtm_table
  jump(JEQ, MAIN_TABLE, 3, 0), // 6: yes, go to 10
  jump(JEQ, RT_TABLE_COMPAT, 0, 4), // 7: no, drop it
  load(LDH, 6), // 8: nlmsg_flags
  jump(JSET, NLM_F_REPLACE >> 8, 3, 2), // 9: yes, take it: it may be in the place of ours; no, drop it
  load(LDB, 16 + 1), // 10: rtm_dst_len
  jump(JEQ, 0, 1, 0), // 11: yes, take it
  { code: RET, jumpTrue: 0, jumpFalse: 0, k: 0 }, // 12: drop it
  { code: RET, jumpTrue: 0, jumpFalse: 0, k: 0xffff_ffff }, // 13: take all of it
];

function load(code: number, offset: number): FilterInstruction {
  return { code, jumpTrue: 0, jumpFalse: 0, k: offset };
}

/** Jumps are counted from the next instruction. */
function jump(code: number, k: number, jumpTrue: number, jumpFalse: number): FilterInstruction {
  return { code, jumpTrue, jumpFalse, k };
}
