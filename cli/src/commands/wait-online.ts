import { err, ok, type Result } from "@mnm/proto/net";
import { type Link, LinkState, NetworkManagerService } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import { type CallFault, isPassing } from "../call-fault.js";
import { type Controller, withController } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import { pause, type Session } from "../io.js";
import { isOnline, type OnlineCondition } from "../online.js";
import { formatSeconds } from "../render/duration.js";
import { formatJson } from "../render/json.js";
import { formatPage } from "../render/page.js";
import { linkStateWord, spoken } from "../render/words.js";
import { answer, reportCallFault } from "../report.js";
import { statusOf } from "../status-of.js";
import { refuseUsage } from "../usage.js";

const DEFAULT_TIMEOUT = "2min";
/** At boot the controller is there first, by the order of the units; this is for other uses. */
const RETRY_MS = 200;
/** Node's timers fire at once beyond it. */
const MOST_SEC = 2_000_000;
const UNITS: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["s", 1],
  ["min", 60],
  ["h", 3600],
]);

/** Waits until the host is online, by the controller's events. */
export async function waitOnline(
  { words, options }: Invocation,
  session: Session,
): Promise<ExitCode> {
  if (options.has("any") && options.has("all")) {
    const text = "--any and --all exclude each other";
    return refuseUsage({ text, hint: "choose one of them" }, session.io);
  }
  const given = options.get("timeout") ?? DEFAULT_TIMEOUT;
  const seconds = secondsOf(given);
  if (seconds === undefined) {
    const hint = "write 90, 90s, 2min, 1h or infinity; 0 only looks";
    return refuseUsage({ text: `--timeout ${given} is not possible`, hint }, session.io);
  }
  const isAll = options.has("all") || (words.length > 0 && !options.has("any"));
  const condition: OnlineCondition = { names: words, how: isAll ? "all" : "any" };
  const patience = new AbortController();
  const timer =
    seconds === Number.POSITIVE_INFINITY
      ? undefined
      : setTimeout(() => patience.abort(), seconds * 1000);
  try {
    const waiter = new Waiter({ session, patience: patience.signal }, condition);
    const isThere = await waiter.wait(seconds === 0);
    if (!isThere.ok) return reportCallFault(session, isThere.error);
    return isThere.value
      ? reportOnline(waiter.links, session)
      : reportLate(waiter.links, { condition, seconds }, session);
  } finally {
    clearTimeout(timer);
  }
}

class Waiter {
  readonly #session: Session;
  readonly #patience: AbortSignal;
  readonly #condition: OnlineCondition;
  /** As they were when last looked at. */
  links: readonly Link[] = [];

  constructor(
    dependencies: { readonly session: Session; readonly patience: AbortSignal },
    condition: OnlineCondition,
  ) {
    this.#session = dependencies.session;
    this.#patience = dependencies.patience;
    this.#condition = condition;
  }

  /** True once the host is online; false when it was not in time. */
  async wait(onlyLooks: boolean): Promise<Result<boolean, CallFault>> {
    while (true) {
      const outcome = await withController(this.#session.socket, (controller) =>
        onlyLooks ? this.#look(controller) : this.#follow(controller),
      );
      if (outcome.ok && (outcome.value || onlyLooks)) return outcome;
      if (!outcome.ok && (onlyLooks || !canPass(outcome.error))) return outcome;
      // What keeps us from asking comes before what we may once have heard.
      if (this.#patience.aborted) return outcome;
      await pause(RETRY_MS, this.#patience);
    }
  }

  /** Looks after every event, until online, out of patience, or disconnected. */
  async #follow(controller: Controller): Promise<Result<boolean, CallFault>> {
    const enough = new AbortController();
    const stop = AbortSignal.any([this.#patience, enough.signal]);
    let outcome: Result<boolean, CallFault> = ok(false);
    let isLooking = false;
    let hasNews = false;
    const look = async () => {
      hasNews = true;
      if (isLooking) return;
      isLooking = true;
      while (hasNews && !stop.aborted) {
        hasNews = false;
        outcome = await this.#look(controller);
        if (!outcome.ok || outcome.value) enough.abort();
      }
      isLooking = false;
    };
    // The first item says that from now on no event is missed.
    const end = await controller.subscribe({ noSnapshot: true }, stop, () => {
      void look();
      return "go-on";
    });
    return end.kind === "broken" && outcome.ok ? err(end.fault) : outcome;
  }

  async #look(controller: Controller): Promise<Result<boolean, CallFault>> {
    const asked = await controller.call(NetworkManagerService.getStatus, {});
    if (!asked.ok) return asked;
    this.links = statusOf(asked.value).links;
    return ok(isOnline(this.links, this.#condition));
  }
}

/** A controller that is not there, or ends, may come; a lack of permission stays. */
function canPass(fault: CallFault): boolean {
  const stays = fault.code === "socket-permission" || fault.code === "not-a-socket";
  return isPassing(fault) && !stays;
}

/** Undefined for what is no duration, or longer than Node can wait. */
function secondsOf(text: string): number | undefined {
  if (text === "infinity") return Number.POSITIVE_INFINITY;
  const [, digits = "", unit = ""] = /^(\d{1,7})([a-z]*)$/.exec(text) ?? [];
  const seconds = digits === "" ? Number.NaN : Number(digits) * (UNITS.get(unit) ?? Number.NaN);
  return seconds <= MOST_SEC ? seconds : undefined;
}

function reportOnline(links: readonly Link[], session: Session): ExitCode {
  const usable = links.filter(({ state }) => state === LinkState.USABLE).map(({ name }) => name);
  answer(
    session,
    () => [[`online: ${usable.join(", ")}`]],
    () => ({ online: true, links: usable }),
  );
  return ExitCode.done;
}

/** Says what the links that were waited for are instead. */
function reportLate(
  links: readonly Link[],
  { condition, seconds }: { readonly condition: OnlineCondition; readonly seconds: number },
  { io, json }: Session,
): ExitCode {
  const { names } = condition;
  const absent = names.filter((name) => !links.some((link) => link.name === name));
  const states = links
    .filter((link) => names.includes(link.name) || (names.length === 0 && isWanted(link)))
    .map(({ name, state }) => `${name} ${spoken(linkStateWord(state))}`);
  const found = [...states, ...absent.map((name) => `${name} not there`)].join(", ");
  const when = seconds === 0 ? "not online" : `not online after ${formatSeconds(seconds)}`;
  const text = `${when}: ${found === "" ? "no link is managed" : found}`;
  io.err(formatPage([[`error: ${text}; mnmctl status says more`]], false));
  if (json) io.out(formatJson({ error: { code: "not-online", text } }, "pretty"));
  return ExitCode.noUplink;
}

function isWanted({ state }: Link): boolean {
  return state !== LinkState.IGNORED;
}
