import { after, type Ifindex, type Instant } from "@mnm/proto/net";
import type { EventLink } from "../events/index.js";
import { isUsable } from "../link/index.js";
import {
  type KernelModel,
  MAIN_TABLE,
  type ModelChange,
  type ObjectKey,
  type Operation,
  operationKey,
  Reconciler,
  renderOperation,
} from "../reconcile/index.js";
import type { Uplink } from "../uplink/index.js";
import type { Episode } from "./contention.js";
import { type Culprit, nameOfCulprit } from "./culprit.js";
import { Inheritance } from "./inheritance.js";
import type { ManagedLink } from "./managed-link.js";
import type { GroupedOperation, OperationOutcome } from "./messages.js";
import type { MetricChanges } from "./metric-change.js";
import type { Outbox } from "./outbox.js";
import { refusalSentence } from "./refusal-sentence.js";
import type { Registry } from "./registry.js";
import { type Repair, Repairs } from "./repairs.js";
import { SettingsKeeper } from "./settings-keeper.js";

/** As many operations as the helper takes in one batch. */
const MAX_BATCH = 256;
/** A batch that failed as a whole (rate limit, lost connection) is sent again after this. */
const RESEND_MS = 100;

/** What is still to be done, as those who announce it look at it. */
export interface Outstanding {
  readonly isEmpty: boolean;
  /** Nothing is on its way to the kernel. */
  readonly isQuiet: boolean;
  /** Links with something missing. */
  readonly links: ReadonlySet<Ifindex>;
  /** Something is missing that all uplinks share. */
  readonly isSharedMissing: boolean;
}

export interface Conditions {
  /** The links that something happened to, managed or not. */
  readonly touched: readonly Ifindex[];
  /** Whether these are other uplinks than the last time. */
  readonly isReplanned: boolean;
  readonly isWithdrawing: boolean;
  readonly isHelperReady: boolean;
}

/** Brings the kernel to the plan, one batch at a time. */
export class Convergence {
  readonly repairs = new Repairs();
  /** No operation on main's defaults is outstanding. */
  isMainSettled = true;
  readonly #kernel: KernelModel;
  readonly #registry: Registry;
  #inFlight: readonly Operation[] | undefined;
  #ready: readonly Operation[] = [];
  #resendAt: Instant | undefined;
  readonly #inheritance: Inheritance;
  readonly #reconciler: Reconciler;
  readonly #settings: SettingsKeeper;

  constructor(kernel: KernelModel, registry: Registry, bootId: string) {
    this.#kernel = kernel;
    this.#registry = registry;
    this.#reconciler = new Reconciler(kernel);
    this.#inheritance = new Inheritance(kernel);
    this.#settings = new SettingsKeeper({ kernel, registry, bootId });
  }

  /** After a start: every link has had its chance, and what is left of an earlier run may go. */
  get isSettled(): boolean {
    return this.#inheritance.isSettled;
  }

  /** The first snapshot is there. */
  begin(now: Instant): void {
    this.#inheritance.begin(now);
  }

  /** Compares plan and kernel, and readies what may be sent now. */
  run(
    uplinks: ReadonlyMap<ManagedLink, Uplink>,
    conditions: Conditions,
    outbox: Outbox,
  ): Outstanding {
    const { isWithdrawing, isHelperReady } = conditions;
    this.#plan(uplinks, conditions);
    const operations = this.#reconciler.operations();
    const wants = (key: ObjectKey) => this.#reconciler.wants(key);
    const isComplete = () => isWithdrawing || hasAll(this.#registry, uplinks);
    this.#inheritance.review({ isComplete, wants }, outbox.now);
    const permitted = operations.filter((operation) => this.#inheritance.permits(operation));
    for (const over of this.repairs.contention.calm(outbox.now)) this.#announceCalm(over, outbox);
    const mayResend = this.#resendAt === undefined || this.#resendAt <= outbox.now;
    const canSend = isHelperReady && this.#inFlight === undefined && mayResend;
    this.#ready = canSend ? this.#dueOf(permitted, outbox) : [];
    const isWaitedFor = (operation: Operation) => !this.repairs.isContended(operation);
    this.isMainSettled = !operations.some(
      (operation) => isOnMain(operation) && isWaitedFor(operation),
    );
    const isQuiet = this.#inFlight === undefined && this.#ready.length === 0;
    // What all uplinks share may be fought over for a long time; new ones do not wait for it.
    const essential = permitted.filter(
      (operation) =>
        !this.repairs.isObstructed(operation) &&
        (operation.link !== undefined || isWaitedFor(operation)),
    );
    return { ...outstandingOf(essential), isQuiet };
  }

  #dueOf(operations: readonly Operation[], outbox: Outbox): readonly Operation[] {
    const ordered = this.#reconciler.ordered(operations);
    const { due, repairs } = this.repairs.due(ordered, outbox.now);
    for (const repair of repairs) this.#announceRepair(repair, outbox);
    return due.slice(0, MAX_BATCH);
  }

  /** Looks at everything next time, whether or not anything was reported. */
  audit(): void {
    this.#reconciler.audit();
  }

  #plan(
    uplinks: ReadonlyMap<ManagedLink, Uplink>,
    { touched, isReplanned, isWithdrawing }: Conditions,
  ): void {
    const affected = new Set(touched);
    if (isReplanned) {
      const all = [...uplinks.values()];
      this.#reconciler.plan(all);
      for (const ifindex of this.#settings.replan(all)) affected.add(ifindex);
    }
    const sorted = [...affected].toSorted((a, b) => a - b);
    for (const [ifindex, wanted] of this.#settings.review(sorted, isWithdrawing)) {
      this.#reconciler.set(ifindex, wanted);
    }
  }

  /** Sends what {@link run} readied. */
  send(outbox: Outbox): void {
    if (this.#ready.length === 0) return;
    this.#resendAt = undefined;
    this.#inFlight = this.#ready;
    this.#kernel.expect(this.#ready);
    const operations = this.#ready.map(
      (operation): GroupedOperation => ({ group: groupOf(operation), operation }),
    );
    outbox.push({ kind: "apply", operations, now: outbox.now });
    this.#ready = [];
  }

  /** Takes the helper's answer to the batch under way. */
  conclude(
    results: readonly OperationOutcome[],
    metricChanges: MetricChanges,
    outbox: Outbox,
  ): readonly ModelChange[] {
    const modelChanges: ModelChange[] = [];
    const batch = this.#inFlight ?? [];
    this.#inFlight = undefined;
    for (const [index, operation] of batch.entries()) {
      const result = results[index] ?? { kind: "skipped" };
      modelChanges.push(...this.#kernel.conclude(operation, result.kind === "done"));
      if (result.kind === "done") {
        this.repairs.succeed(operation);
        metricChanges.note(operation);
      } else if (result.kind === "refused") {
        this.#refused(operation, result, outbox);
      }
    }
    return modelChanges;
  }

  /** The batch as a whole came to nothing, or nobody knows what it came to. */
  fail(text: string, outbox: Outbox): void {
    outbox.log("warn", "Batch failed; sending it again", { text });
    this.abandon();
    this.#resendAt = after(outbox.now, RESEND_MS);
  }

  abandon(): void {
    for (const operation of this.#inFlight ?? []) this.#kernel.conclude(operation, false);
    this.#inFlight = undefined;
  }

  deadlines(): readonly (Instant | undefined)[] {
    return [...this.repairs.deadlines(), this.#resendAt, this.#inheritance.deadline()];
  }

  #refused(
    operation: Operation,
    { refusal }: OperationOutcome & { kind: "refused" },
    outbox: Outbox,
  ): void {
    const described = { ...refusal, text: refusalSentence(operation, refusal) };
    const isNews = this.repairs.refuse(operation, described, outbox.now);
    // A link that has just gone, or changed, overtook us; its notification is on the way.
    if (!isNews || refusal.code === "link-mismatch") return;
    outbox.emit("fault", {
      reason: "refused",
      link: this.#eventLinkOf(operation.link?.ifindex),
      after: renderOperation(operation),
      text: described.text,
    });
    outbox.log("warn", "operation refused", { text: refusal.text });
  }

  #announceRepair({ operation, requester, isContended }: Repair, outbox: Outbox): void {
    const rendered = renderOperation(operation);
    outbox.emit("external-change", {
      reason: "external",
      link: this.#eventLinkOf(operation.link?.ifindex),
      after: rendered,
      text: `another program changed what MNM had put there; putting it back: ${rendered}`,
    });
    // The answer makes the event `contended`.
    if (isContended) outbox.push({ kind: "find-culprit", key: operationKey(operation), requester });
  }

  /** Tells of a fight, once it is known who may be behind it. */
  accuse(key: ObjectKey, culprit: Culprit, outbox: Outbox): void {
    const episode = this.repairs.contention.accuse(key, culprit);
    if (episode === undefined) return;
    const { object, ifindex, repairs } = episode;
    const link = this.#eventLinkOf(ifindex);
    const who = nameOfCulprit(culprit);
    outbox.emit("contended", {
      reason: "external",
      link,
      after: object,
      text: `another program keeps changing ${object}: put back ${repairs} times within a minute${who === "" ? "" : `; by ${who}`}; MNM puts it back ever more rarely now, at last once a minute`,
    });
    outbox.log("warn", "Contended", { object, culprit });
  }

  #announceCalm({ object, ifindex }: Episode, outbox: Outbox): void {
    outbox.emit("uncontended", {
      reason: "external",
      link: this.#eventLinkOf(ifindex),
      before: object,
      text: `no longer contended: ${object} has stayed untouched for a minute`,
    });
  }

  #eventLinkOf(ifindex: Ifindex | undefined): EventLink | undefined {
    return ifindex === undefined ? undefined : this.#registry.managed.get(ifindex)?.eventLink;
  }
}

/** Every managed link that can has its address, or has had its chance. */
function hasAll(registry: Registry, uplinks: ReadonlyMap<ManagedLink, Uplink>): boolean {
  return [...registry.managed.values()].every(
    (managed) => uplinks.has(managed) || !isUsable(managed.link),
  );
}

/** Puts of one link depend on one another, and so do its deletes; the two do not. */
function groupOf(operation: Operation): number {
  const ifindex = operation.link?.ifindex ?? 0;
  return ifindex * 2 + (operation.kind.startsWith("put") ? 0 : 1);
}

function isOnMain(operation: Operation): boolean {
  const isRoute = operation.kind === "put-route" || operation.kind === "delete-route";
  return isRoute && operation.route.table === MAIN_TABLE;
}

function outstandingOf(operations: readonly Operation[]): Omit<Outstanding, "isQuiet"> {
  const links = new Set<Ifindex>();
  let isSharedMissing = false;
  for (const operation of operations) {
    if (!operation.kind.startsWith("put")) continue;
    if (operation.link === undefined) isSharedMissing = true;
    else links.add(operation.link.ifindex);
  }
  return { isEmpty: operations.length === 0, links, isSharedMissing };
}
