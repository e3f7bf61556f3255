/**
 * What the kernel of one namespace did, and when: the only witness of this benchmark. No program
 * is asked whether it is ready; an address, a route or a rule counts when the kernel announces it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";

/** One line of native/monitor.c. */
export interface KernelEvent {
  /** CLOCK_MONOTONIC milliseconds. */
  readonly at: number;
  readonly sign: "+" | "-";
  readonly kind: "link" | "addr" | "route" | "rule";
  readonly words: readonly string[];
}

/** When a link became usable, step by step; undefined for what did not happen. */
export interface Readiness {
  readonly createdAt: number | undefined;
  /** Admin up and carrier. */
  readonly upAt: number | undefined;
  readonly addressAt: number | undefined;
  readonly defaultAt: number | undefined;
  /** The last of its rules. */
  readonly rulesAt: number | undefined;
}

const MAIN_TABLE = "254";
const DEFAULT = "0.0.0.0/0";

/** CLOCK_MONOTONIC in milliseconds, the clock of the monitor. */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export class KernelTimeline {
  readonly events: KernelEvent[] = [];
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();
  readonly #addresses = new Map<string, Set<string>>();
  readonly #defaults = new Map<string, Set<string>>();
  readonly #rules = new Map<string, KernelEvent>();
  // Whose a table or a source address was last: how rules are told apart.
  readonly #tableOwner = new Map<string, string>();
  readonly #addressOwner = new Map<string, string>();
  #failure: string | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async open(monitor: string, namespace: string): Promise<KernelTimeline> {
    const child = spawn(monitor, [namespace], { stdio: ["ignore", "pipe", "inherit"] });
    const timeline = new KernelTimeline(child);
    const lines = createInterface({ input: child.stdout });
    const ready = once(lines, "line");
    lines.on("line", (line) => timeline.#take(line));
    child.once("exit", () => timeline.#fail("the monitor ended"));
    await ready;
    return timeline;
  }

  /** A place in the timeline: "from now on". */
  mark(): number {
    return this.events.length;
  }

  /** Waits until `look` gives something; undefined when it did not in time. */
  async until<T>(timeoutMs: number, look: () => T | undefined | false): Promise<T | undefined> {
    const end = nowMs() + timeoutMs;
    for (;;) {
      if (this.#failure !== undefined) throw new Error(this.#failure);
      const found = look();
      if (found !== undefined && found !== false) return found;
      const left = end - nowMs();
      if (left <= 0) return undefined;
      await this.#next(left);
    }
  }

  /** Waits until nothing was announced for `quietMs`. */
  async settled(quietMs: number, maxMs = 20_000): Promise<void> {
    const end = nowMs() + maxMs;
    while (nowMs() < end) {
      const before = this.mark();
      await delay(quietMs);
      if (this.mark() === before) return;
    }
  }

  /** Whether the link has an address and a default route in any table. */
  isReady(link: string): boolean {
    return (this.#addresses.get(link)?.size ?? 0) > 0 && (this.#defaults.get(link)?.size ?? 0) > 0;
  }

  addressesOf(link: string): readonly string[] {
    return [...(this.#addresses.get(link) ?? [])];
  }

  /** How many rules that belong to the link are installed. */
  rulesOf(link: string): number {
    return [...this.#rules.values()].filter((rule) => this.#ownerOf(rule) === link).length;
  }

  readiness(link: string, since: number): Readiness {
    const first = (kind: KernelEvent["kind"], is: (words: readonly string[]) => boolean) =>
      this.events
        .slice(since)
        .find((event) => event.sign === "+" && event.kind === kind && is(event.words))?.at;
    return {
      createdAt: first("link", ([name]) => name === link),
      upAt: first("link", ([name, , flags]) => name === link && flags === "UL"),
      addressAt: first("addr", ([name]) => name === link),
      defaultAt: first("route", ([name, , to]) => name === link && to === DEFAULT),
      rulesAt: this.lastRule("+", since, link),
    };
  }

  /** The last rule that came or went since then, of this link or of any. */
  lastRule(sign: "+" | "-", since: number, link?: string): number | undefined {
    return this.events
      .slice(since)
      .findLast(
        (event) =>
          event.kind === "rule" &&
          event.sign === sign &&
          (link === undefined || this.#ownerOf(event) === link),
      )?.at;
  }

  async close(): Promise<void> {
    this.#child.removeAllListeners("exit");
    if (this.#child.exitCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }

  #take(line: string): void {
    const [at, sign, kind, ...words] = line.split(" ");
    if (sign === "!") this.#fail("The monitor lost notifications");
    if (sign !== "+" && sign !== "-") return;
    if (kind !== "link" && kind !== "addr" && kind !== "route" && kind !== "rule") return;
    const event: KernelEvent = { at: Number(at), sign, kind, words };
    this.events.push(event);
    this.#follow(event);
    this.#wake();
  }

  #follow(event: KernelEvent): void {
    const [name = "", second = "", third = ""] = event.words;
    switch (event.kind) {
      case "link":
        // The kernel says nothing of the routes that go with a link, or when it is set down.
        if (event.sign === "-" || !third.startsWith("U")) this.#defaults.delete(name);
        if (event.sign === "-") this.#addresses.delete(name);
        break;
      case "addr":
        // IPv4LL is what a client falls back to, not a lease.
        if (second.startsWith("169.254.")) break;
        change(this.#addresses, event.sign, name, second);
        this.#addressOwner.set(second, name);
        break;
      case "route":
        if (third !== DEFAULT) break;
        change(this.#defaults, event.sign, name, second);
        if (second !== MAIN_TABLE) this.#tableOwner.set(second, name);
        break;
      case "rule":
        if (event.sign === "+") this.#rules.set(event.words.join(" "), event);
        else this.#rules.delete(event.words.join(" "));
        break;
    }
  }

  #ownerOf({ words }: KernelEvent): string | undefined {
    const [, table = "", from = "", , , oif = "-"] = words;
    if (oif !== "-") return oif;
    return this.#tableOwner.get(table) ?? this.#addressOwner.get(from.replace(/\/32$/, ""));
  }

  #fail(text: string): void {
    this.#failure ??= text;
    this.#wake();
  }

  #next(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#waiting.add(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

function change(map: Map<string, Set<string>>, sign: "+" | "-", key: string, value: string): void {
  const set = map.get(key) ?? new Set();
  if (sign === "+") set.add(value);
  else set.delete(value);
  map.set(key, set);
}
