import { after, type Instant } from "@mnm/proto/net";
import {
  type KernelModel,
  type KernelRoute,
  MNM_PROTOCOL,
  type ObjectKey,
  type Operation,
  operationKey,
} from "../reconcile/index.js";

/** What matches nothing is left alone for this long at most. */
const GRACE_MS = 10_000;

/**
 * What an earlier run of ours left in the kernel.
 *
 * Until the first complete plan nobody knows what of it will be wanted again, so it stays. Rules
 * whose link is absent or whose table is empty cannot be, nor can routes whose address is gone: an
 * address is put first. They go at once; so does what this run has wanted, and wants no longer.
 */
export class Inheritance {
  readonly #kernel: KernelModel;
  readonly #keys = new Set<ObjectKey>();
  #graceUntil: Instant | undefined;
  #isSettled = false;

  constructor(kernel: KernelModel) {
    this.#kernel = kernel;
  }

  /** The first complete plan has been made. */
  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** The first snapshot is there. */
  begin(now: Instant): void {
    const { addresses, routes, rules } = this.#kernel;
    for (const map of [addresses, routes, rules]) {
      for (const [key, { protocol }] of map) if (protocol === MNM_PROTOCOL) this.#keys.add(key);
    }
    this.#graceUntil = after(now, GRACE_MS);
  }

  /** Looks whether waiting is over, and what has turned out to be wanted. */
  review(
    plan: { readonly isComplete: () => boolean; readonly wants: (key: ObjectKey) => boolean },
    now: Instant,
  ): void {
    if (this.#isSettled) return;
    const isLate = this.#graceUntil !== undefined && this.#graceUntil <= now;
    this.#isSettled = isLate || plan.isComplete();
    for (const key of this.#keys) if (this.#isSettled || plan.wants(key)) this.#keys.delete(key);
  }

  /** Whether an operation takes nothing away that may turn out to be wanted. */
  permits(operation: Operation): boolean {
    if (!this.#keys.has(operationKey(operation))) return true;
    switch (operation.kind) {
      case "delete-address":
        return false;
      case "delete-route":
        return this.#isAddressless(operationKey(operation));
      case "delete-rule":
        return this.#isOrphan(operation.rule);
      default:
        return true;
    }
  }

  deadline(): Instant | undefined {
    return this.#isSettled ? undefined : this.#graceUntil;
  }

  #isOrphan(rule: (Operation & { kind: "delete-rule" })["rule"]): boolean {
    if (rule.kind === "main-without-defaults") return false;
    if (rule.kind === "source-unreachable") {
      return ![...this.#kernel.addresses.values()].some(({ address }) => address === rule.from);
    }
    const isTableEmpty = ![...this.#kernel.routes.values()].some(
      (route) =>
        route.table === rule.table && route.protocol === MNM_PROTOCOL && this.#isBorne(route),
    );
    if (rule.kind !== "device") return isTableEmpty;
    return (
      isTableEmpty || ![...this.#kernel.links.values()].some(({ name }) => name === rule.device)
    );
  }

  #isAddressless(key: ObjectKey): boolean {
    const route = this.#kernel.routes.get(key);
    return route !== undefined && !this.#isBorne(route);
  }

  /**
   * Whether the address that the route prefers is still on its link. When a lease ends while we are
   * dead, the kernel removes the address, but leaves its routes where the link has another one.
   */
  #isBorne({ preferredSource, ifindex }: KernelRoute): boolean {
    if (preferredSource === undefined || ifindex === undefined) return true;
    return this.#kernel.addresses.of(ifindex).some(({ address }) => address === preferredSource);
  }
}
