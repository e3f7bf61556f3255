import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { LinkState, type NetworkManagerClient } from "@mnm/proto/network-manager";
import {
  Lab,
  type LabOptions,
  type PingCount,
  type PingStream,
  type StartOptions,
  until,
} from "../lab/index.js";
import type { Program } from "../lab/program.js";
import { Churn, type Random } from "./churn.js";
import { kernelText, ours } from "./kernel-text.js";
import { KernelWatch } from "./kernel-watch.js";
import { clientOf, statusOf } from "./scenario.js";

export type Victim = "helper" | "controller";

/** As long as a test waits for what should take two seconds at most: these machines are noisy. */
const PATIENCE_MS = 30_000;
/** The longest time from a random event to the kill. */
const KILL_WITHIN_MS = 300;

/**
 * A lab whose programs are killed while its uplinks come and go; only uplink 0 stays, with a
 * stream of pings and a watch on whatever the kernel does.
 */
export class CrashScene implements AsyncDisposable {
  readonly lab: Lab;
  readonly churn: Churn;
  readonly #random: Random;
  #client: NetworkManagerClient;
  #helper: Program;
  #controller: Program;
  readonly #watch: KernelWatch;
  readonly #ping: PingStream;

  private constructor(parts: {
    readonly lab: Lab;
    readonly random: Random;
    readonly programs: readonly [Program, Program];
    readonly watch: KernelWatch;
    readonly ping: PingStream;
  }) {
    this.lab = parts.lab;
    this.#random = parts.random;
    [this.#helper, this.#controller] = parts.programs;
    this.#watch = parts.watch;
    this.#ping = parts.ping;
    this.churn = new Churn(parts.lab, parts.random);
    this.#client = clientOf(parts.lab);
  }

  /** What `start` says is for the first start of the programs. */
  static async start(
    random: Random,
    options: LabOptions & { readonly start?: Readonly<Record<Victim, StartOptions>> } = {
      uplinks: 4,
    },
  ): Promise<CrashScene> {
    const { start, ...labOptions } = options;
    const lab = await Lab.create(labOptions);
    try {
      const programs = await Promise.all([
        lab.startHelper(start?.helper),
        lab.startController(start?.controller),
      ]);
      const address = lab.isps[0]?.numbers.address ?? "";
      await until(async () => (await lab.whoami({ address })) === 0, {
        timeoutMs: PATIENCE_MS,
        what: "the steady uplink",
      });
      const watch = await KernelWatch.start(lab.host);
      const ping = await lab.startPing({ address });
      const scene = new CrashScene({ lab, random, programs, watch, ping });
      await scene.converged(epochMs());
      return scene;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /**
   * Kills one program at a random moment after a random event, starts it at once as systemd would,
   * and gives the milliseconds from its start until the kernel holds the plan again.
   */
  async kill(victim: Victim): Promise<number> {
    const before = this.churn.act(this.#client);
    await delay(this.#random(KILL_WITHIN_MS));
    await this.#stop(victim);
    const startedAt = epochMs();
    const starting = this.#start(victim);
    // What happens while it is away is told to nobody.
    const during = this.#random(2) === 0 ? this.churn.act(this.#client) : undefined;
    await Promise.all([before, during]);
    const lastEventAt = epochMs();
    await starting;
    const since = during === undefined ? startedAt : Math.max(startedAt, lastEventAt);
    return await this.converged(since);
  }

  /** Does one thing to an uplink; resolves when the kernel shows it. */
  act(): Promise<void> {
    return this.churn.act(this.#client);
  }

  /** What a stranger does: removes an object of ours, where there is one. */
  async strike(): Promise<void> {
    const { host, isps } = this.lab;
    const { index, numbers } = isps[1 + this.#random(isps.length - 1)] ?? isps[0] ?? assert.fail();
    const strikes = [
      ["rule", "del", "priority", "10000", "from", numbers.address],
      ["rule", "del", "priority", "9000", "oif", this.lab.linkName(index)],
      ["route", "flush", "table", String(7701 + index)],
      ["addr", "del", `${numbers.address}/24`, "dev", this.lab.linkName(index)],
    ];
    const strike = strikes[this.#random(strikes.length)] ?? [];
    await host.exec("ip", "-4", ...strike);
  }

  get pids(): Readonly<Record<Victim, number>> {
    return { helper: this.#helper.pid, controller: this.#controller.pid };
  }

  /** How many events there have been since the controller started. */
  async events(): Promise<number> {
    return Number((await statusOf(this.#client)).lastSequence);
  }

  /** Waits until the kernel holds the plan, and gives how long after `since` that was. */
  async converged(since: number): Promise<number> {
    let difference = "";
    const at = await until(
      async () => {
        const wanted = await this.#wanted();
        if (wanted === undefined) {
          difference = "the status is not complete";
          return undefined;
        }
        const held = await ours(this.lab.host);
        difference = differenceOf(
          held.filter((line) => !this.#isInDoubt(line)),
          wanted,
        );
        return difference === "" ? epochMs() : undefined;
      },
      { timeoutMs: PATIENCE_MS, what: "the kernel to hold the plan" },
    ).catch((cause: unknown) => {
      throw new Error(`After ${PATIENCE_MS} ms, fates ${this.#fates()}: ${difference}`, { cause });
    });
    return Math.max(0, at - since);
  }

  /**
   * Everything plugged in again, metrics that were set at run time forgotten, and nothing in the
   * kernel but what is wanted.
   */
  async settle(): Promise<void> {
    await this.churn.restore();
    await this.#stop("controller");
    await this.#start("controller");
    await this.converged(epochMs());
  }

  /** Ends the stream and the watch, and gives what they saw of the steady uplink. */
  async end(): Promise<{ readonly count: PingCount; readonly deleted: readonly string[] }> {
    const { host } = this.lab;
    const count = await this.#ping.stop();
    // A change of ours that must show: the watch was listening all the time.
    const skip = this.#watch.lines.length;
    await host.ip("route", "add", "198.51.100.0/24", "dev", "wan0", "proto", "static");
    await this.#watch.next(skip, ({ text }) => text.includes("198.51.100.0"), "the last line");
    await host.ip("route", "del", "198.51.100.0/24", "dev", "wan0");
    await this.#watch.stop();
    const deleted = this.#watch.lines
      .filter(({ isGone, text }) => isGone && !text.includes("198.51.100.") && isSteady(text))
      .map(({ text }) => text);
    return { count, deleted };
  }

  /** Takes everything of ours away while both programs are dead, and starts them afresh. */
  async startAfresh(): Promise<void> {
    const { host } = this.lab;
    await Promise.all([this.#stop("helper"), this.#stop("controller")]);
    await host.shell("while ip -4 rule del protocol 77 2>/dev/null; do :; done");
    await host.shell("ip -4 route flush table all protocol 77");
    for (const { index } of this.lab.isps) {
      await host.ip("-4", "addr", "flush", "dev", this.lab.linkName(index));
    }
    assert.deepEqual(await ours(host), []);
    await Promise.all([this.#start("helper"), this.#start("controller")]);
    await this.converged(epochMs());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
    await this.lab.close();
  }

  async #stop(victim: Victim): Promise<void> {
    const program = victim === "helper" ? this.#helper : this.#controller;
    await program.stop("SIGKILL");
  }

  async #start(victim: Victim): Promise<void> {
    if (victim === "helper") {
      this.#helper = await this.lab.startHelper();
      return;
    }
    this.#controller = await this.lab.startController();
    this.#client.close();
    this.#client = clientOf(this.lab);
  }

  /** What the kernel should hold of the uplinks that are plugged in; undefined until that is known. */
  async #wanted(): Promise<readonly string[] | undefined> {
    const status = await statusOf(this.#client).catch(() => undefined);
    if (status === undefined || status.helper?.text !== "") return undefined;
    const wanted = ["9500: from all lookup main suppress_prefixlength 0 proto 77"];
    for (const { index, numbers } of this.lab.isps) {
      if (this.churn.fateOf(index) !== "plugged") continue;
      const name = this.lab.linkName(index);
      const link = status.links.find((candidate) => candidate.name === name);
      if (link?.state !== LinkState.USABLE) return undefined;
      wanted.push(...wantedOf({ name, metric: link.metric, table: 7701 + index, ...numbers }));
    }
    return wanted;
  }

  /** An uplink without carrier keeps what it has for a while, or loses it at a restart. */
  #isInDoubt(line: string): boolean {
    return this.lab.isps.some(
      ({ index, numbers }) =>
        this.churn.fateOf(index) === "unplugged" &&
        new RegExp(`\\b(${this.lab.linkName(index)}|${7701 + index})\\b|\\b${numbers.net}\\.`).test(
          line,
        ),
    );
  }

  #fates(): string {
    return this.lab.isps.map(({ index }) => this.churn.fateOf(index)).join(" ");
  }
}

export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

interface WantedUplink {
  readonly name: string;
  readonly metric: number;
  readonly table: number;
  readonly net: string;
  readonly address: string;
  readonly gateway: string;
}

/** The objects of one uplink, as the design has them. */
function wantedOf(uplink: WantedUplink): readonly string[] {
  const { name, metric, table, net, address, gateway } = uplink;
  return [
    `9000: from all oif ${name} lookup ${table} proto 77`,
    `10000: from ${address} lookup ${table} proto 77`,
    `10500: from ${address} unreachable proto 77`,
    `${20000 + metric}: from all to ${net}.0/24 lookup ${table} proto 77`,
    `${net}.0/24 dev ${name} table ${table} proto 77 scope link src ${address}`,
    `default via ${gateway} dev ${name} proto 77 src ${address} metric ${metric}`,
    `default via ${gateway} dev ${name} table ${table} proto 77 src ${address}`,
    `${name} inet ${address}/24 brd ${net}.255 scope global dynamic noprefixroute ${name} valid_lft N preferred_lft N`,
  ];
}

/** What is missing and what is too much, as text; empty when both are the same. */
function differenceOf(held: readonly string[], wanted: readonly string[]): string {
  const missing = wanted.filter((line) => !held.includes(line)).map((line) => `- ${line}`);
  const tooMuch = held.filter((line) => !wanted.includes(line)).map((line) => `+ ${line}`);
  return [...missing, ...tooMuch].join("\n");
}

/** Whether a line of `ip monitor` is about uplink 0, or about what all uplinks share. */
function isSteady(text: string): boolean {
  return /\bwan0\b|\b7701\b|\b10\.0\.0\.|^9500:/.test(text);
}

/** The kernel of the scene, for comparing one moment with another. */
export function textOf({ lab }: CrashScene) {
  return kernelText(lab.host);
}
