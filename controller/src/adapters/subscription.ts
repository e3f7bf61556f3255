import { type ServerWritableStream, status } from "@grpc/grpc-js";
import {
  type EventKind,
  Fault_Code,
  type Link,
  type Position,
  type SubscribeRequest,
  type SubscribeResponse,
} from "@mnm/proto/network-manager";
import type { Journal, JournalEntry } from "../events/index.js";
import { EVENT_KINDS, encodeEvent } from "./api-encode.js";
import { refuseWith } from "./api-fault.js";

type Call = ServerWritableStream<SubscribeRequest, SubscribeResponse>;
type Item = NonNullable<SubscribeResponse["item"]>;

export interface SubscriptionDependencies {
  readonly journal: Journal;
  readonly instance: string;
  /** Told once, when the subscriber is cut. */
  readonly onCut: (peer: string) => void;
  /** Every link, as of now. */
  readonly snapshot: () => readonly Link[];
}

/** As many events may wait for a subscriber that does not read. */
const MAX_BACKLOG = 1024;
/** Not reading is taking nothing for this long: a burst overtakes everybody for a moment. */
const STALLED_AFTER_MS = 1_000;
const MIN_HEARTBEAT_MS = 1_000;

/** The latest events as messages: the same object for all subscribers, which follow closely. */
const recent = new Map<JournalEntry, SubscribeResponse>();
const MOST_RECENT = 128;

/**
 * One subscriber: snapshot first where it is due, then the journal, followed as fast as it is read.
 *
 * Nothing is queued for it, so one that does not read costs nothing and holds nobody up. It is told
 * so and cut when too much waits for it, or when the journal has overtaken it.
 */
export class Subscription {
  readonly #call: Call;
  readonly #dependencies: SubscriptionDependencies;
  readonly #prelude: Iterator<Item>;
  /** As sets: a request has room for tens of thousands, and each event is compared with them. */
  readonly #links: ReadonlySet<string>;
  readonly #kinds: ReadonlySet<EventKind>;
  /** The sequence that it gets next. */
  #next: number;
  #isSynced = false;
  #isBlocked = false;
  #isOver = false;
  #heartbeat: NodeJS.Timeout | undefined;
  #stallTimer: NodeJS.Timeout | undefined;

  constructor(call: Call, dependencies: SubscriptionDependencies) {
    this.#call = call;
    this.#dependencies = dependencies;
    const { journal, instance } = dependencies;
    const { resumeAfter, links, kinds } = call.request;
    this.#links = new Set(links);
    this.#kinds = new Set(kinds);
    const sequence = Number(resumeAfter?.sequence ?? 0n);
    const canResume = resumeAfter?.instance === instance && journal.canResumeAfter(sequence);
    this.#next = canResume ? sequence + 1 : journal.last + 1;
    this.#prelude = canResume ? [][Symbol.iterator]() : this.#beginning();
    call.on("drain", () => {
      this.#isBlocked = false;
      this.#clearStall();
      this.#pump();
    });
    this.#pump();
  }

  /** The journal has grown. Never waits. */
  follow(): void {
    if (!this.#isOver) this.#pump();
  }

  /** The stream has ended, whoever ended it. */
  close(): void {
    this.#isOver = true;
    clearTimeout(this.#heartbeat);
    this.#clearStall();
  }

  /** Reset where the client asked for what is not known, and the snapshot. */
  *#beginning(): Generator<Item> {
    const { resumeAfter, noSnapshot } = this.#call.request;
    if (resumeAfter !== undefined) yield this.#resetItem();
    if (noSnapshot) return;
    for (const link of this.#dependencies.snapshot()) {
      if (this.#wantsLink(link.name)) yield { $case: "link", value: link };
    }
  }

  #pump(): void {
    while (!this.#isOver && !this.#isBlocked) {
      const response = this.#nextResponse();
      if (response === undefined) break;
      this.#isBlocked = !this.#call.write(response);
    }
    if (this.#isOver) return;
    this.#armHeartbeat();
    const backlog = this.#dependencies.journal.last - this.#next + 1;
    if (this.#isBlocked && backlog > MAX_BACKLOG) {
      this.#stallTimer ??= setTimeout(() => this.#cut(), STALLED_AFTER_MS);
    }
  }

  #nextResponse(): SubscribeResponse | undefined {
    const first = this.#prelude.next();
    if (first.done !== true) return { item: first.value };
    const { journal } = this.#dependencies;
    while (this.#next <= journal.last) {
      const entry = journal.at(this.#next);
      if (entry === undefined) {
        this.#cut();
        return undefined;
      }
      this.#next += 1;
      if (this.#wants(entry)) return this.#eventResponse(entry);
    }
    if (this.#isSynced) return undefined;
    this.#isSynced = true;
    return { item: { $case: "synced", value: this.#position() } };
  }

  #clearStall(): void {
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
  }

  #armHeartbeat(): void {
    clearTimeout(this.#heartbeat);
    const { heartbeatMs } = this.#call.request;
    if (heartbeatMs === 0) return;
    this.#heartbeat = setTimeout(
      () => {
        if (!this.#isBlocked) {
          const item: Item = { $case: "heartbeat", value: this.#position() };
          this.#isBlocked = !this.#call.write({ item });
        }
        this.#armHeartbeat();
      },
      Math.max(heartbeatMs, MIN_HEARTBEAT_MS),
    );
  }

  #cut(): void {
    this.close();
    this.#dependencies.onCut(this.#call.getPeer());
    const { oldest } = this.#dependencies.journal;
    const refusal = refuseWith(status.RESOURCE_EXHAUSTED, {
      code: Fault_Code.SLOW_SUBSCRIBER,
      text: `more than ${MAX_BACKLOG} events were waiting to be read`,
      hint: `subscribe again after the last event you processed; the journal goes back to ${oldest}`,
      oldestSequence: BigInt(oldest),
    });
    this.#call.emit("error", refusal);
  }

  #wants({ event }: JournalEntry): boolean {
    const isWantedLink = event.link === undefined || this.#wantsLink(event.link.name);
    return isWantedLink && (this.#kinds.size === 0 || this.#kinds.has(EVENT_KINDS[event.kind]));
  }

  #wantsLink(name: string): boolean {
    return this.#links.size === 0 || this.#links.has(name);
  }

  /** The same object for all subscribers. */
  #eventResponse(entry: JournalEntry): SubscribeResponse {
    const known = recent.get(entry);
    if (known !== undefined) return known;
    const value = encodeEvent(entry, this.#dependencies.instance);
    const response: SubscribeResponse = { item: { $case: "event", value } };
    recent.set(entry, response);
    const [oldest] = recent.keys();
    if (oldest !== undefined && recent.size > MOST_RECENT) recent.delete(oldest);
    return response;
  }

  #resetItem(): Item {
    const { oldest } = this.#dependencies.journal;
    const text = "the events after that position are not known here; forget what you know";
    return { $case: "reset", value: { text, oldestSequence: BigInt(oldest) } };
  }

  #position(): Position {
    const { instance, journal } = this.#dependencies;
    return { instance, sequence: BigInt(journal.last) };
  }
}
