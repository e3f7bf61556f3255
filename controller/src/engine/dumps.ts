import { after, type Instant } from "@mnm/proto/net";
import type { KernelNotification } from "../reconcile/index.js";
import type { Outbox } from "./outbox.js";
import { earliest } from "./repairs.js";

type Scope = "everything" | "routes";

/** At most one complete dump in this time: an overrun under load must not feed itself. */
const MIN_PAUSE_MS = 500;
/**
 * While the overruns go on, each pause is twice the one before, up to this: the model has to be right
 * again within 2 s of the last change, whichever notification was lost.
 */
const MAX_PAUSE_MS = 1_000;
/** A dump that the kernel says was interrupted is asked for again soon, and then ever later. */
const FIRST_RETRY_MS = 50;
/** What takes longer, on a host with very many objects, is followed by four times as much rest. */
const LONG_DUMP_MS = 20;
const REST_FACTOR = 4;
/** Everything is looked at this often, whether or not anything was reported. */
const AUDIT_MS = 60_000;

/** Why everything is read again, beside the audit. */
export interface Resync {
  readonly reason: "overrun" | "helper";
  readonly text: string;
}

interface Underway {
  readonly number: number;
  readonly what: Scope;
  readonly askedAt: Instant;
  readonly since: KernelNotification[];
}

/**
 * When to ask the kernel for everything again. Notifications that arrive while a dump is under way
 * are kept and applied once more on top of it: the dump may be older than they are.
 */
export class Dumps {
  readonly #wanted = new Set<Scope>(["everything"]);
  #because: Resync | undefined;
  /** For everything. */
  #notBefore: Instant | undefined;
  #pauseMs = 0;
  #retryMs = FIRST_RETRY_MS;
  /** For anything at all, after a dump that took long. */
  #restUntil: Instant | undefined;
  #auditAt: Instant | undefined;
  #number = 0;
  #under: Underway | undefined;

  want(scope: Scope): void {
    this.#wanted.add(scope);
  }

  /** Wants everything, and tells subscribers so once it is asked for: overruns come in hundreds. */
  resync(because: Resync): void {
    this.#because ??= because;
    this.want("everything");
  }

  /** Keeps notifications that a dump under way may not know of. */
  note(batch: readonly KernelNotification[]): void {
    this.#under?.since.push(...batch);
  }

  /** Takes a dump's arrival; answers what to apply on top of it, or undefined when it is stale. */
  arrived(number: number, now: Instant): readonly KernelNotification[] | undefined {
    const under = this.#end(number, now);
    if (under?.what === "everything") this.#retryMs = FIRST_RETRY_MS;
    return under?.since;
  }

  failed(number: number, now: Instant): void {
    if (this.#end(number, now) === undefined) return;
    this.want("everything");
    this.#notBefore = after(now, this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, MIN_PAUSE_MS);
  }

  /** Asks for what is wanted, if it may be asked for now. */
  ask(outbox: Outbox): void {
    const { now } = outbox;
    if (this.#auditAt !== undefined && this.#auditAt <= now) this.want("everything");
    const what = this.#nextAt(now);
    if (what === undefined || this.#under !== undefined) return;
    this.#number += 1;
    this.#under = { number: this.#number, what, askedAt: now, since: [] };
    this.#wanted.delete("routes");
    if (what === "everything") {
      this.#wanted.delete("everything");
      this.#pause(now);
      this.#announce(outbox);
    }
    outbox.push({ kind: "dump", dump: this.#number, what });
  }

  deadline(): Instant | undefined {
    if (this.#under !== undefined) return undefined;
    const due = [...this.#wanted].map((what) => this.#dueFor(what));
    return earliest([...due, this.#auditAt]);
  }

  /** Everything, if it may be asked for, for that has the routes in it; else the routes. */
  #nextAt(now: Instant): Scope | undefined {
    return (["everything", "routes"] as const).find((what) => {
      const due = this.#dueFor(what);
      return this.#wanted.has(what) && (due === undefined || due <= now);
    });
  }

  #end(number: number, now: Instant): Underway | undefined {
    const under = this.#under;
    if (under?.number !== number) return undefined;
    this.#under = undefined;
    const tookMs = now - under.askedAt;
    const restMs = tookMs > LONG_DUMP_MS ? Math.min(tookMs * REST_FACTOR, MIN_PAUSE_MS) : 0;
    this.#restUntil = after(now, restMs);
    return under;
  }

  /** Routes alone are few and asked for at once: they are on the way to a repair. */
  #dueFor(what: Scope): Instant | undefined {
    const rest = this.#restUntil;
    if (what === "routes" || this.#notBefore === undefined) return rest;
    return rest === undefined || rest < this.#notBefore ? this.#notBefore : rest;
  }

  #announce(outbox: Outbox): void {
    if (this.#because === undefined) return;
    const { reason, text } = this.#because;
    this.#because = undefined;
    outbox.emit("resynced", { reason, text: `reading the kernel again: ${text}` });
  }

  #pause(now: Instant): void {
    const last = this.#notBefore;
    const isCalm = last === undefined || now > after(last, MAX_PAUSE_MS);
    const isRetry = this.#retryMs !== FIRST_RETRY_MS;
    if (isCalm) this.#pauseMs = MIN_PAUSE_MS;
    else if (!isRetry) this.#pauseMs = Math.min(this.#pauseMs * 2, MAX_PAUSE_MS);
    this.#notBefore = after(now, this.#pauseMs);
    this.#auditAt = after(now, AUDIT_MS);
  }
}
