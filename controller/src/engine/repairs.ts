/**
 * Which of the operations that the diff asks for may be tried now.
 *
 * Three things hold one back: the kernel or the helper refused it a moment ago (it is tried again
 * with growing pauses, and sooner when its link changes), another program has just disturbed
 * its object (a moment of quiet is waited for, since a link that goes takes its addresses first), or
 * that program does so again and again (the wait grows, contention.ts).
 */
import { after, type Ifindex, type Instant, type Ipv4 } from "@mnm/proto/net";
import {
  addressKey,
  type KernelAddress,
  MAIN_TABLE,
  MNM_PROTOCOL,
  type ModelChange,
  type ObjectKey,
  type Operation,
  operationKey,
} from "../reconcile/index.js";
import { Contention } from "./contention.js";
import type { Refusal } from "./messages.js";

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 60_000;
const QUIET_MS = 250;
/** More refusals than that a host has seen in a long time; the oldest would be told again. */
const MOST_TOLD = 1_000;
/** The kernel takes routes away with an address, or with a link that is set down; we hear of it later. */
const COLLATERAL_MS = 1_000;
/** The kernel tells lifetimes in whole seconds, and ends them up to one early. */
const LIFETIME_FUZZ_MS = 1_000;

export interface OperationFault {
  readonly refusal: Refusal;
  readonly operation: Operation;
  readonly attempts: number;
  readonly retryAt: Instant;
}

interface Disturbance {
  readonly at: Instant;
  /** It is left alone until then. */
  readonly until: Instant;
  /** The netlink port of who did it; undefined when the kernel did not say. */
  readonly requester: number | undefined;
}

/** Something after which the kernel takes routes of a link away by itself, and says nothing of it. */
interface Upheaval {
  readonly at: Instant;
  /** The address that went: it takes the routes that prefer it. Undefined when all routes went. */
  readonly address: Ipv4 | undefined;
}

/** An address of ours is off its link. */
interface Departure {
  readonly key: ObjectKey;
  readonly at: Instant;
  /** Its lifetime had run out, so that the kernel may have removed it by itself. */
  readonly isOver: boolean;
}

/** An operation that undoes what another program did. */
export interface Repair {
  readonly operation: Operation;
  readonly requester: number | undefined;
  /** It is one too many: the object is contended from now on. */
  readonly isContended: boolean;
}

export class Repairs {
  readonly contention = new Contention();
  readonly #faults = new Map<ObjectKey, OperationFault>();
  readonly #disturbed = new Map<ObjectKey, Disturbance>();
  /** Of each link the last one. */
  readonly #upheavals = new Map<Ifindex, Upheaval>();
  /** The last one of all: who hears of it hears next that the object was disturbed. */
  #departure: Departure | undefined;
  /** Refusals that were told and not cured since, oldest first. */
  readonly #told = new Map<ObjectKey, string>();

  /** Follows what the kernel reports. */
  observe(change: ModelChange, now: Instant): void {
    switch (change.kind) {
      case "disturbed":
        this.#disturb(change.key, change.requester, now);
        break;
      case "freed":
        // What stood in the way of this object is gone.
        this.#faults.delete(change.key);
        break;
      case "address-removed":
        this.#shake(change.address.ifindex, { at: now, address: change.address.address });
        this.#depart(change.address, now);
        break;
      case "link-added":
        this.#retryLink(change.link.ifindex);
        break;
      case "link-changed":
        this.#retryLink(change.link.ifindex);
        if (change.before.adminUp && !change.link.adminUp) {
          this.#shake(change.link.ifindex, { at: now, address: undefined });
        }
        break;
      case "link-removed":
        this.#upheavals.delete(change.link.ifindex);
        this.contention.forgetLink(change.link.ifindex);
        break;
      case "address-added":
        break;
    }
  }

  #depart({ ifindex, address, length, protocol, expiry }: KernelAddress, now: Instant): void {
    if (protocol !== MNM_PROTOCOL) return;
    const key = addressKey(ifindex, address, length);
    const isOver = expiry !== undefined && expiry <= after(now, LIFETIME_FUZZ_MS);
    this.#departure = { key, at: now, isOver };
  }

  /** Of two different ones within a moment, nobody can tell afterwards which route went by which. */
  #shake(ifindex: Ifindex, { at, address }: Upheaval): void {
    const last = this.#upheavals.get(ifindex);
    const isAnother = last !== undefined && at < after(last.at, COLLATERAL_MS);
    const isAll = isAnother && last.address !== address;
    this.#upheavals.set(ifindex, { at, address: isAll ? undefined : address });
  }

  /** Another program removed or changed an object of ours, unless the kernel did as it was told. */
  #disturb(key: ObjectKey, requester: number | undefined, now: Instant): void {
    const { key: departed, at, isOver } = this.#departure ?? {};
    if (departed === key && at === now && isOver && requester === undefined) return;
    const quiet = after(now, QUIET_MS);
    const notBefore = this.contention.touch(key);
    const until = notBefore === undefined || notBefore < quiet ? quiet : notBefore;
    const known = requester ?? this.#disturbed.get(key)?.requester;
    this.#disturbed.set(key, { at: now, until, requester: known });
  }

  /** Answers whether it is worth telling: it is not what was told last, or that was cured since. */
  refuse(operation: Operation, refusal: Refusal, now: Instant): boolean {
    const key = operationKey(operation);
    const previous = this.#faults.get(key);
    const attempts = (previous?.attempts ?? 0) + 1;
    const pauseMs = Math.min(FIRST_RETRY_MS * 2 ** (attempts - 1), LAST_RETRY_MS);
    this.#faults.set(key, { refusal, operation, attempts, retryAt: after(now, pauseMs) });
    const isNews = this.#told.get(key) !== refusal.text;
    this.#told.delete(key);
    this.#told.set(key, refusal.text);
    const [oldest] = this.#told.keys();
    if (this.#told.size > MOST_TOLD && oldest !== undefined) this.#told.delete(oldest);
    return isNews;
  }

  succeed(operation: Operation): void {
    const key = operationKey(operation);
    this.#faults.delete(key);
    this.#told.delete(key);
  }

  /** The link changed: what failed on it may succeed now. */
  #retryLink(ifindex: Ifindex): void {
    for (const [key, { operation }] of this.#faults) {
      if (operation.link?.ifindex === ifindex) this.#faults.delete(key);
    }
  }

  /** Whether an operation is, or will be, put off because its object is fought over. */
  isContended(operation: Operation): boolean {
    return this.contention.has(operationKey(operation));
  }

  /**
   * Whether an operation waits for another program's default in main to go. That costs unbound
   * traffic; the uplink itself is usable without.
   */
  isObstructed(operation: Operation): boolean {
    const fault = this.#faults.get(operationKey(operation));
    const isDefault = operation.kind === "put-route" && operation.route.table === MAIN_TABLE;
    return isDefault && fault?.refusal.code === "foreign";
  }

  /** A fault that keeps the uplink of this link from being usable: something is missing, not too much. */
  blockOf(ifindex: Ifindex): OperationFault | undefined {
    return [...this.#faults.values()].find(
      ({ operation }) =>
        operation.link?.ifindex === ifindex &&
        operation.kind.startsWith("put") &&
        !this.isObstructed(operation),
    );
  }

  /** Circumstances are different now: nothing waits any longer. */
  retryAll(now: Instant): void {
    this.#faults.clear();
    this.#told.clear();
    for (const [key, disturbance] of this.#disturbed) {
      if (this.contention.has(key)) this.#disturbed.set(key, { ...disturbance, until: now });
    }
  }

  faultOf(ifindex: Ifindex): OperationFault | undefined {
    return [...this.#faults.values()].find(({ operation }) => operation.link?.ifindex === ifindex);
  }

  get faults(): readonly OperationFault[] {
    return [...this.#faults.values()];
  }

  /**
   * The operations that may be tried now, and which of them undo what another program did.
   * Faults of objects that are no longer asked for are forgotten.
   */
  due(
    operations: readonly Operation[],
    now: Instant,
  ): { readonly due: readonly Operation[]; readonly repairs: readonly Repair[] } {
    const keys = new Set(operations.map(operationKey));
    for (const key of this.#faults.keys()) if (!keys.has(key)) this.#faults.delete(key);
    for (const operation of operations) this.#forgive(operation);
    const waiting = new Waiting();
    const due = operations.filter((operation) => {
      const mayGo = this.#mayGo(operation, now);
      if (!operation.kind.startsWith("put")) return mayGo && !waiting.has(operation);
      if (mayGo && !waiting.holds(operation)) return true;
      waiting.add(operation, !mayGo && !this.#isPutOff(operation, now));
      return false;
    });
    const repairs = due.flatMap((operation) => this.#repair(operation, now));
    for (const [key, { until }] of this.#disturbed) {
      if (until > now || keys.has(key)) continue;
      this.#disturbed.delete(key);
      this.contention.leave(key, now);
    }
    return { due, repairs };
  }

  /** A route that the kernel took along was taken by nobody else, whoever was behind the rest. */
  #forgive(operation: Operation): void {
    if (operation.kind !== "put-route" || this.isContended(operation)) return;
    const { link, route } = operation;
    const upheaval = this.#upheavals.get(link.ifindex);
    const key = operationKey(operation);
    const disturbance = this.#disturbed.get(key);
    if (upheaval === undefined || disturbance === undefined) return;
    if (disturbance.requester !== undefined) return;
    const { at, address = route.preferredSource } = upheaval;
    const isCollateral = disturbance.at < after(at, COLLATERAL_MS);
    if (isCollateral && address === route.preferredSource) this.#disturbed.delete(key);
  }

  #mayGo(operation: Operation, now: Instant): boolean {
    const key = operationKey(operation);
    const disturbance = this.#disturbed.get(key);
    return isPast(this.#faults.get(key)?.retryAt, now) && isPast(disturbance?.until, now);
  }

  /** Nothing but a fight over its own object keeps the operation from being tried. */
  #isPutOff(operation: Operation, now: Instant): boolean {
    return (
      this.isContended(operation) && isPast(this.#faults.get(operationKey(operation))?.retryAt, now)
    );
  }

  #repair(operation: Operation, now: Instant): readonly Repair[] {
    const key = operationKey(operation);
    const disturbance = this.#disturbed.get(key);
    if (disturbance === undefined) return [];
    this.#disturbed.delete(key);
    // What is not wanted any more is not put back, whoever changed it before it goes.
    if (!operation.kind.startsWith("put")) return [];
    const { requester } = disturbance;
    const isContended = this.contention.repair(operation, now);
    return [{ operation, requester, isContended }];
  }

  deadlines(): readonly Instant[] {
    return [
      ...[...this.#faults.values()].map(({ retryAt }) => retryAt),
      ...[...this.#disturbed.values()].map(({ until }) => until),
      ...this.contention.deadlines(),
    ];
  }
}

export function earliest(instants: Iterable<Instant | undefined>): Instant | undefined {
  let first: Instant | undefined;
  for (const instant of instants) {
    if (instant !== undefined && (first === undefined || instant < first)) first = instant;
  }
  return first;
}

/** What has to wait, and what therefore has to wait with it. */
class Waiting {
  readonly #links = new Set<Ifindex | undefined>();
  readonly #operations = new Map<Ifindex | undefined, Operation[]>();
  readonly #keys = new Set<ObjectKey>();

  /** @param isForAll what comes later on the link waits as well, whether the kernel needs it or not */
  add(operation: Operation, isForAll: boolean): void {
    const ifindex = operation.link?.ifindex;
    this.#keys.add(operationKey(operation));
    if (isForAll) this.#links.add(ifindex);
    const earlier = this.#operations.get(ifindex);
    if (earlier === undefined) this.#operations.set(ifindex, [operation]);
    else earlier.push(operation);
  }

  /** Whether the operation would take away what has yet to be put, as in an exchange of metrics. */
  has(operation: Operation): boolean {
    return this.#keys.has(operationKey(operation));
  }

  holds(operation: Operation): boolean {
    const ifindex = operation.link?.ifindex;
    if (this.#links.has(ifindex)) return true;
    const earlier = this.#operations.get(ifindex) ?? [];
    return earlier.some((candidate) => isNeeded(candidate, operation));
  }
}

/** Whether the kernel refuses the later of two operations on a link before the earlier is done. */
function isNeeded(earlier: Operation, later: Operation): boolean {
  if (later.kind !== "put-route") return false;
  switch (earlier.kind) {
    case "put-address":
      return true;
    case "put-route":
      return earlier.route.gateway === undefined && later.route.gateway !== undefined;
    case "put-rule":
      // The gateway of the default in main is found by way of the rule for the device.
      return earlier.rule.kind === "device" && later.route.table === MAIN_TABLE;
    default:
      return false;
  }
}

function isPast(instant: Instant | undefined, now: Instant): boolean {
  return instant === undefined || instant <= now;
}
