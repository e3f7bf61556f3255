/**
 * Which of the operations that the diff asks for may be tried now.
 *
 * Two things hold one back: the kernel or the helper refused it a moment ago (it is tried again
 * with growing pauses, and sooner when its link changes), or another program has just disturbed
 * its object (a moment of quiet is waited for, since a link that goes takes its addresses first).
 */
import { after, type Ifindex, type Instant } from "@mnm/proto/net";
import { MAIN_TABLE, type ObjectKey, type Operation, operationKey } from "../reconcile/index.js";
import type { Refusal } from "./messages.js";

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 60_000;
const QUIET_MS = 250;

export interface OperationFault {
  readonly refusal: Refusal;
  readonly operation: Operation;
  readonly attempts: number;
  readonly retryAt: Instant;
}

export class Repairs {
  readonly #faults = new Map<ObjectKey, OperationFault>();
  readonly #disturbed = new Map<ObjectKey, Instant>();

  /** Another program removed or changed an object of ours. */
  disturb(key: ObjectKey, now: Instant): void {
    this.#disturbed.set(key, after(now, QUIET_MS));
  }

  /** Answers whether this is the first refusal of its kind, which is worth telling. */
  refuse(operation: Operation, refusal: Refusal, now: Instant): boolean {
    const key = operationKey(operation);
    const previous = this.#faults.get(key);
    const attempts = (previous?.attempts ?? 0) + 1;
    const pauseMs = Math.min(FIRST_RETRY_MS * 2 ** (attempts - 1), LAST_RETRY_MS);
    this.#faults.set(key, { refusal, operation, attempts, retryAt: after(now, pauseMs) });
    return previous === undefined || previous.refusal.text !== refusal.text;
  }

  succeed(operation: Operation): void {
    this.#faults.delete(operationKey(operation));
  }

  /** The link changed: what failed on it may succeed now. */
  retryLink(ifindex: Ifindex): void {
    for (const [key, { operation }] of this.#faults) {
      if (operation.link?.ifindex === ifindex) this.#faults.delete(key);
    }
  }

  /** What stood in the way of this object is gone. */
  retry(key: ObjectKey): void {
    this.#faults.delete(key);
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

  /** A fault that keeps the uplink of this link from being usable. */
  blockOf(ifindex: Ifindex): OperationFault | undefined {
    return [...this.#faults.values()].find(
      ({ operation }) => operation.link?.ifindex === ifindex && !this.isObstructed(operation),
    );
  }

  retryAll(): void {
    this.#faults.clear();
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
  ): { readonly due: readonly Operation[]; readonly repairs: readonly Operation[] } {
    const keys = new Set(operations.map(operationKey));
    for (const key of this.#faults.keys()) if (!keys.has(key)) this.#faults.delete(key);
    // What is put on a link after something that has to wait depends on it, and waits too.
    const waiting = new Set<Ifindex | undefined>();
    const due = operations.filter((operation) => {
      const isPut = operation.kind.startsWith("put");
      const mayGo = this.#mayGo(operation, now) && !(isPut && waiting.has(operation.link?.ifindex));
      if (!mayGo && isPut) waiting.add(operation.link?.ifindex);
      return mayGo;
    });
    const repairs = due.filter((operation) => this.#disturbed.has(operationKey(operation)));
    for (const [key, until] of this.#disturbed) if (until <= now) this.#disturbed.delete(key);
    return { due, repairs };
  }

  #mayGo(operation: Operation, now: Instant): boolean {
    const key = operationKey(operation);
    return isPast(this.#faults.get(key)?.retryAt, now) && isPast(this.#disturbed.get(key), now);
  }

  deadlines(): readonly Instant[] {
    return [
      ...[...this.#faults.values()].map(({ retryAt }) => retryAt),
      ...this.#disturbed.values(),
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

function isPast(instant: Instant | undefined, now: Instant): boolean {
  return instant === undefined || instant <= now;
}
