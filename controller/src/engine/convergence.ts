import { after, type Ifindex, type Instant } from "@mnm/proto/net";
import { isUsable } from "../link/index.js";
import { planRouting, planSettings } from "../plan/index.js";
import {
  diffKernel,
  type KernelModel,
  MAIN_TABLE,
  MNM_PROTOCOL,
  type ModelChange,
  type Operation,
  renderOperation,
} from "../reconcile/index.js";
import type { Uplink } from "../uplink/index.js";
import type { ManagedLink } from "./managed-link.js";
import type { GroupedOperation, OperationOutcome, Refusal } from "./messages.js";
import type { MetricChanges } from "./metric-change.js";
import type { Outbox } from "./outbox.js";
import type { Registry } from "./registry.js";
import { Repairs } from "./repairs.js";
import { wantedSettings } from "./settings-keeper.js";

/** As many operations as the helper takes in one batch. */
const MAX_BATCH = 256;
/** After a start, what carries our mark and matches nothing is left alone for this long at most. */
const GRACE_MS = 10_000;
/** A batch that failed as a whole (rate limit, lost connection) is sent again after this. */
const RESEND_MS = 100;

/** What is still to be done, as those who announce it look at it. */
export interface Outstanding {
  readonly isEmpty: boolean;
  /** Nothing is on its way to the kernel. */
  readonly isQuiet: boolean;
  readonly has: (ifindex: Ifindex) => boolean;
}

export interface Conditions {
  readonly isWithdrawing: boolean;
  readonly isHelperReady: boolean;
}

/** Brings the kernel to the plan, one batch at a time. */
export class Convergence {
  readonly repairs = new Repairs();
  /** After a start: the first complete plan was made, so surplus of ours may go. */
  isComplete = false;
  /** No operation on main's defaults is outstanding. */
  isMainSettled = true;
  readonly #kernel: KernelModel;
  readonly #registry: Registry;
  readonly #bootId: string;
  #inFlight: readonly Operation[] | undefined;
  #ready: readonly Operation[] = [];
  #resendAt: Instant | undefined;
  #graceUntil: Instant | undefined;

  constructor(kernel: KernelModel, registry: Registry, bootId: string) {
    this.#kernel = kernel;
    this.#registry = registry;
    this.#bootId = bootId;
  }

  /** The first snapshot is there. */
  begin(now: Instant): void {
    this.#graceUntil = after(now, GRACE_MS);
  }

  /** Compares plan and kernel, and readies what may be sent now. */
  run(
    uplinks: ReadonlyMap<ManagedLink, Uplink>,
    { isWithdrawing, isHelperReady }: Conditions,
    outbox: Outbox,
  ): Outstanding {
    const all = [...uplinks.values()];
    const settings = wantedSettings({
      kernel: this.#kernel,
      registry: this.#registry,
      settingsOf: planSettings(all, this.#kernel.rpFilterAll),
      uplinkOf: (managed) => uplinks.get(managed),
      bootId: this.#bootId,
      isWithdrawing,
    });
    const operations = diffKernel(planRouting(all), settings, this.#kernel);
    this.isComplete ||= isWithdrawing || this.#hasSettled(uplinks, outbox.now);
    const permitted = this.isComplete ? operations : operations.filter((op) => this.#isSafe(op));
    const { due, repairs } = this.repairs.due(permitted, outbox.now);
    for (const repair of repairs) this.#announceRepair(repair, outbox);
    const mayResend = this.#resendAt === undefined || this.#resendAt <= outbox.now;
    const canSend = isHelperReady && this.#inFlight === undefined && mayResend;
    this.#ready = canSend ? due.slice(0, MAX_BATCH) : [];
    this.isMainSettled = !operations.some(isOnMain);
    const isQuiet = this.#inFlight === undefined && this.#ready.length === 0;
    const essential = permitted.filter((operation) => !this.repairs.isObstructed(operation));
    return { ...outstandingOf(essential), isQuiet };
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
    for (const operation of this.#ready) {
      outbox.log("debug", "apply", { operation: renderOperation(operation) });
    }
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
        metricChanges.note(renderOperation(operation));
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
    const graceUntil = this.isComplete ? undefined : this.#graceUntil;
    return [...this.repairs.deadlines(), this.#resendAt, graceUntil];
  }

  #refused(
    operation: Operation,
    { refusal }: OperationOutcome & { kind: "refused" },
    outbox: Outbox,
  ): void {
    const described = { ...refusal, text: sentenceOf(operation, refusal) };
    const isNews = this.repairs.refuse(operation, described, outbox.now);
    // A link that has just gone, or changed, overtook us; its notification is on the way.
    if (!isNews || refusal.code === "link-mismatch") return;
    const ifindex = operation.link?.ifindex;
    const managed = ifindex === undefined ? undefined : this.#registry.managed.get(ifindex);
    outbox.emit("fault", {
      reason: "refused",
      link: managed?.eventLink,
      after: renderOperation(operation),
      text: described.text,
    });
    outbox.log("warn", "operation refused", { text: refusal.text });
  }

  #announceRepair(operation: Operation, outbox: Outbox): void {
    const ifindex = operation.link?.ifindex;
    const managed = ifindex === undefined ? undefined : this.#registry.managed.get(ifindex);
    const rendered = renderOperation(operation);
    outbox.emit("external-change", {
      reason: "external",
      link: managed?.eventLink,
      after: rendered,
      text: `another program changed what MNM had put there; putting it back: ${rendered}`,
    });
  }

  /** Every managed link that can has its address, or has had its chance. */
  #hasSettled(uplinks: ReadonlyMap<ManagedLink, Uplink>, now: Instant): boolean {
    if (this.#graceUntil !== undefined && this.#graceUntil <= now) return true;
    return [...this.#registry.managed.values()].every(
      (managed) => uplinks.has(managed) || !isUsable(managed.link),
    );
  }

  /**
   * Before the first complete plan: whether an operation cannot take anything away that the plan
   * may turn out to want. Rules of links that are absent, and of tables that are empty, cannot be.
   */
  #isSafe(operation: Operation): boolean {
    switch (operation.kind) {
      case "put-settings":
      case "put-address":
      case "put-route":
      case "put-rule":
        return true;
      case "delete-address":
      case "delete-route":
        return false;
      case "delete-rule":
        return this.#isOrphan(operation.rule);
    }
  }

  #isOrphan(rule: (Operation & { kind: "delete-rule" })["rule"]): boolean {
    if (rule.kind === "main-without-defaults") return false;
    if (rule.kind === "source-unreachable") {
      return ![...this.#kernel.addresses.values()].some(({ address }) => address === rule.from);
    }
    const isTableEmpty = ![...this.#kernel.routes.values()].some(
      ({ table, protocol }) => table === rule.table && protocol === MNM_PROTOCOL,
    );
    if (rule.kind !== "device") return isTableEmpty;
    return (
      isTableEmpty || ![...this.#kernel.links.values()].some(({ name }) => name === rule.device)
    );
  }
}

/** The refusal for people: what was attempted, why not, and what to do. */
function sentenceOf(operation: Operation, { code, errno, kernelText, text }: Refusal): string {
  const attempt = renderOperation(operation);
  switch (code) {
    case "foreign":
      return `${attempt}: another program's object is in its place; MNM leaves it alone and tries again when it is gone`;
    case "kernel-refused":
      return `${attempt}: the kernel refused with ${errno}${kernelText === "" ? "" : ` (${kernelText})`}; MNM tries again`;
    case "not-permitted":
      return `${attempt}: the helper does not permit it (${text}); see helper.json`;
    case "link-mismatch":
      return `${attempt}: the link has changed meanwhile; MNM tries again`;
    case "malformed":
      return `${attempt}: the helper did not understand it (${text})`;
  }
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
  const ifindexes = new Set<Ifindex>();
  let isSharedMissing = false;
  for (const operation of operations) {
    if (!operation.kind.startsWith("put")) continue;
    if (operation.link === undefined) isSharedMissing = true;
    else ifindexes.add(operation.link.ifindex);
  }
  return {
    isEmpty: operations.length === 0,
    has: (ifindex) => isSharedMissing || ifindexes.has(ifindex),
  };
}
