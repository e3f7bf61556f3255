import { type ServerWritableStream, status } from "@grpc/grpc-js";
import {
  Fault_Code,
  type Link,
  type Position,
  type SubscribeRequest,
  SubscribeResponse,
} from "@mnm/proto/network-manager";
import type { Journal, JournalEntry } from "../events/index.js";
import { LiveQueue } from "../events/index.js";
import { EVENT_KINDS, encodeEvent } from "./api-encode.js";
import { refuseWith } from "./api-fault.js";

type Call = ServerWritableStream<SubscribeRequest, SubscribeResponse>;
type Item = NonNullable<SubscribeResponse["item"]>;

export interface SubscriptionDependencies {
  readonly journal: Journal;
  readonly instance: string;
  /** Every link, as of now. */
  readonly snapshot: () => readonly Link[];
}

const LIMITS = { items: 1024, bytes: 1024 * 1024 };
/** A subscriber that was cut has this long to read why. */
const CLOSE_AFTER_MS = 5_000;
const MIN_HEARTBEAT_MS = 1_000;

/**
 * One subscriber: snapshot or replay first, pulled as fast as it reads, then live events through a
 * bounded queue. Whoever does not read overflows its own queue, is told so and cut.
 */
export class Subscription {
  readonly #call: Call;
  readonly #dependencies: SubscriptionDependencies;
  readonly #live = new LiveQueue<SubscribeResponse>(LIMITS);
  readonly #start: Iterator<Item>;
  #isStarting = true;
  #isBlocked = false;
  #isOver = false;
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(call: Call, dependencies: SubscriptionDependencies) {
    this.#call = call;
    this.#dependencies = dependencies;
    this.#start = this.#beginning();
    call.on("drain", () => {
      this.#isBlocked = false;
      this.#pump();
    });
    this.#pump();
  }

  /** Something happened. Never waits. */
  deliver(entry: JournalEntry): void {
    // What happens before the beginning is over is part of it: the replay reads up to the newest.
    if (this.#isOver || this.#isStarting || !this.#wants(entry)) return;
    const item = this.#eventItem(entry);
    const response = { item };
    this.#live.push(response, SubscribeResponse.encode(response).finish().length);
    if (this.#live.overflowed) this.#cut();
    else this.#pump();
  }

  /** The stream has ended, whoever ended it. */
  close(): void {
    this.#isOver = true;
    clearTimeout(this.#heartbeat);
  }

  *#beginning(): Generator<Item> {
    const { journal, instance } = this.#dependencies;
    const { resumeAfter } = this.#call.request;
    const sequence = Number(resumeAfter?.sequence ?? 0n);
    const canResume = resumeAfter?.instance === instance && journal.canResumeAfter(sequence);
    const next = canResume ? sequence + 1 : journal.last + 1;
    if (!canResume) {
      if (resumeAfter !== undefined) yield this.#resetItem();
      yield* this.#snapshot();
    }
    yield* this.#replayFrom(next);
    yield { $case: "synced", value: this.#position() };
  }

  *#snapshot(): Generator<Item> {
    if (this.#call.request.noSnapshot) return;
    for (const link of this.#dependencies.snapshot()) {
      if (this.#wantsLink(link.name)) yield { $case: "link", value: link };
    }
  }

  /** The journal grows while this is read, so it is followed to its end, not to where it ended. */
  *#replayFrom(first: number): Generator<Item> {
    const { journal } = this.#dependencies;
    for (let next = first; next <= journal.last; next += 1) {
      const entry = journal.at(next);
      // So slow a reader that the journal overtook it.
      if (entry === undefined) {
        yield this.#resetItem();
        yield* this.#snapshot();
        next = journal.last;
      } else if (this.#wants(entry)) {
        yield this.#eventItem(entry);
      }
    }
  }

  #pump(): void {
    while (!this.#isOver && !this.#isBlocked) {
      const response = this.#nextResponse();
      if (response === undefined) break;
      this.#isBlocked = !this.#call.write(response);
    }
    if (!this.#isOver) this.#armHeartbeat();
  }

  #nextResponse(): SubscribeResponse | undefined {
    if (!this.#isStarting) return this.#live.shift();
    const next = this.#start.next();
    if (next.done !== true) return { item: next.value };
    this.#isStarting = false;
    return this.#live.shift();
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
    const { oldest } = this.#dependencies.journal;
    const refusal = refuseWith(status.RESOURCE_EXHAUSTED, {
      code: Fault_Code.SLOW_SUBSCRIBER,
      text: `more than ${LIMITS.items} events or ${LIMITS.bytes} bytes were waiting to be read`,
      hint: `subscribe again after the last event you processed; the journal goes back to ${oldest}`,
      oldestSequence: BigInt(oldest),
    });
    this.#call.emit("error", refusal);
    // What was written before may never be read; then the status cannot reach the client either.
    setTimeout(() => this.#call.destroy(), CLOSE_AFTER_MS).unref();
  }

  #wants({ event }: JournalEntry): boolean {
    const { kinds } = this.#call.request;
    const isWantedLink = event.link === undefined || this.#wantsLink(event.link.name);
    return isWantedLink && (kinds.length === 0 || kinds.includes(EVENT_KINDS[event.kind]));
  }

  #wantsLink(name: string): boolean {
    const { links } = this.#call.request;
    return links.length === 0 || links.includes(name);
  }

  #eventItem(entry: JournalEntry): Item {
    return { $case: "event", value: encodeEvent(entry, this.#dependencies.instance) };
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
