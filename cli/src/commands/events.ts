import { err, ok, type Result } from "@mnm/proto/net";
import { NetworkManagerService } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import { type CallFault, callFaultSentence, isPassing } from "../call-fault.js";
import { type Controller, withController } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import { pause, type Session } from "../io.js";
import { eventLine } from "../render/event.js";
import { eventJson, formatJson } from "../render/json.js";
import { formatPage } from "../render/page.js";
import { reportCallFault } from "../report.js";
import { statusOf } from "../status-of.js";
import { refuseUsage } from "../usage.js";

const RETRY_MS = 500;

/** A journal may move on while we ask for its oldest event; more often than this it does not. */
const MAX_RESETS = 3;

export async function events({ options }: Invocation, session: Session): Promise<ExitCode> {
  const since = options.get("since") ?? "0";
  if (!/^\d{1,15}$/.test(since)) {
    const hint = "give the number of an event";
    return refuseUsage({ text: `--since ${since} is not possible`, hint }, session.io);
  }
  const reader = new JournalReader(
    { session },
    { since: BigInt(since), follow: options.has("follow") },
  );
  return reader.run();
}

/** Prints the journal and, when following, what comes after it, across restarts of the controller. */
class JournalReader {
  readonly #session: Session;
  readonly #signal: AbortSignal;
  readonly #follow: boolean;
  /** The `instance` that the sequence belongs to; undefined before the first connection. */
  #instance: string | undefined;
  #isConnected = false;
  /** The last event printed, or the one that `--since` names. */
  #sequence: bigint;

  constructor(
    dependencies: { readonly session: Session },
    options: { readonly since: bigint; readonly follow: boolean },
  ) {
    this.#session = dependencies.session;
    this.#signal = dependencies.session.io.interruption();
    this.#follow = options.follow;
    this.#sequence = options.since;
  }

  async run(): Promise<ExitCode> {
    while (true) {
      const end = await withController(this.#session.socket, (controller) =>
        this.#read(controller),
      );
      if (end.ok || this.#signal.aborted) return ExitCode.done;
      const isHopeless = !this.#follow || this.#instance === undefined || !isPassing(end.error);
      if (isHopeless) return reportCallFault(this.#session, end.error);
      if (this.#isConnected)
        this.#notice("lost", `${callFaultSentence(end.error)}; waiting for it`);
      this.#isConnected = false;
      await pause(RETRY_MS, this.#signal);
    }
  }

  /** One connection. Its fault, or ok when there is no more to read. */
  async #read(controller: Controller): Promise<Result<undefined, CallFault>> {
    const asked = await controller.call(NetworkManagerService.getStatus, {});
    if (!asked.ok) return asked;
    const { instance, lastSequence } = statusOf(asked.value);
    if (this.#instance !== undefined && this.#instance !== instance) {
      this.#notice(
        "restarted",
        "the controller has restarted; its events are numbered from 1 again",
      );
      this.#sequence = 0n;
    } else if (this.#instance !== undefined) {
      this.#notice("reconnected", `connected again, events go on after #${this.#sequence}`);
    }
    this.#instance = instance;
    this.#isConnected = true;
    // The journal cannot resume in its future.
    if (this.#sequence > lastSequence) {
      const text = `event #${this.#sequence} has not happened yet: the last is #${lastSequence}; numbers begin at 1 when the controller starts`;
      this.#notice("ahead", text);
      this.#sequence = lastSequence;
    }
    return this.#subscribe(controller, instance);
  }

  async #subscribe(
    controller: Controller,
    instance: string,
  ): Promise<Result<undefined, CallFault>> {
    let resets = 0;
    while (true) {
      let oldest: bigint | undefined;
      const request = { resumeAfter: { instance, sequence: this.#sequence } };
      const end = await controller.subscribe(request, this.#signal, (item) => {
        if (item.$case === "event") {
          this.#instance = item.value.instance;
          this.#sequence = item.value.sequence;
          this.#print(item.value);
        } else if (item.$case === "reset" && resets < MAX_RESETS) {
          oldest = item.value.oldestSequence;
          return "stop";
        }
        return item.$case === "synced" && !this.#follow ? "stop" : "go-on";
      });
      if (end.kind === "broken") return err(end.fault);
      if (end.kind === "interrupted" || oldest === undefined) return ok(undefined);
      resets++;
      this.#skipTo(oldest);
    }
  }

  /** The journal has dropped what we asked for: go on with the oldest that it has. */
  #skipTo(oldest: bigint): void {
    if (oldest <= this.#sequence + 1n) return;
    const text = `events up to #${oldest - 1n} are no longer kept`;
    // From the beginning that is no loss to speak of: nobody has asked for a certain event.
    if (this.#sequence > 0n) this.#notice("gap", text);
    this.#sequence = oldest - 1n;
  }

  #print(event: Parameters<typeof eventJson>[0]): void {
    const { io, json, useColor } = this.#session;
    if (json) io.out(formatJson({ event: eventJson(event) }, "line"));
    else io.out(formatPage([eventLine(event, new Date())], useColor));
  }

  #notice(code: "lost" | "restarted" | "reconnected" | "gap" | "ahead", text: string): void {
    const { io, json, useColor } = this.#session;
    if (json) io.out(formatJson({ notice: { code, text } }, "line"));
    else io.out(formatPage([[{ text: `-- ${text}`, style: "dim" }]], useColor));
  }
}
