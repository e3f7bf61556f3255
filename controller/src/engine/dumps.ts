import { after, type Instant } from "@mnm/proto/net";
import type { KernelNotification } from "../reconcile/index.js";
import type { Outbox } from "./outbox.js";
import { earliest } from "./repairs.js";

type Scope = "everything" | "routes";

/** At most one complete dump in this time: an overrun under load must not feed itself. */
const MIN_PAUSE_MS = 500;
/** A dump that the kernel says was interrupted is asked for again soon. */
const RETRY_MS = 50;
/** Everything is looked at this often, whether or not anything was reported. */
const AUDIT_MS = 60_000;

/**
 * When to ask the kernel for everything again. Notifications that arrive while a dump is under way
 * are kept and applied once more on top of it: the dump may be older than they are.
 */
export class Dumps {
  #wanted: Scope | undefined = "everything";
  #notBefore: Instant | undefined;
  #auditAt: Instant | undefined;
  #number = 0;
  #under: { readonly number: number; readonly since: KernelNotification[] } | undefined;

  want(scope: Scope): void {
    if (this.#wanted !== "everything") this.#wanted = scope;
  }

  /** Keeps notifications that a dump under way may not know of. */
  note(batch: readonly KernelNotification[]): void {
    this.#under?.since.push(...batch);
  }

  /** Takes a dump's arrival; answers what to apply on top of it, or undefined when it is stale. */
  arrived(number: number): readonly KernelNotification[] | undefined {
    if (this.#under?.number !== number) return undefined;
    const { since } = this.#under;
    this.#under = undefined;
    return since;
  }

  failed(number: number, now: Instant): void {
    if (this.#under?.number !== number) return;
    this.#under = undefined;
    this.want("everything");
    this.#notBefore = after(now, RETRY_MS);
  }

  /** Asks for what is wanted, if it may be asked for now. */
  ask(outbox: Outbox): void {
    const { now } = outbox;
    if (this.#auditAt !== undefined && this.#auditAt <= now) this.want("everything");
    const mayAsk = this.#notBefore === undefined || this.#notBefore <= now;
    const what = this.#wanted;
    if (what === undefined || this.#under !== undefined) return;
    // Routes alone are few and asked for at once: they are on the way to a repair.
    if (what === "everything" && !mayAsk) return;
    this.#number += 1;
    this.#under = { number: this.#number, since: [] };
    this.#wanted = undefined;
    if (what === "everything") {
      this.#notBefore = after(now, MIN_PAUSE_MS);
      this.#auditAt = after(now, AUDIT_MS);
    }
    outbox.push({ kind: "dump", dump: this.#number, what });
  }

  deadline(): Instant | undefined {
    if (this.#under !== undefined) return undefined;
    const isWaiting = this.#wanted === "everything";
    return earliest([isWaiting ? this.#notBefore : undefined, this.#auditAt]);
  }
}
