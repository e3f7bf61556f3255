import { Metadata } from "@grpc/grpc-js";
import type { NetworkManagerClient } from "@mnm/proto/network-manager";
import { type Lab, until } from "../lab/index.js";

/** A whole number from 0, below the argument. */
export type Random = (below: number) => number;

/** mulberry32: a run is repeated by its seed, as far as the machine's own timing lets it. */
export function randomFrom(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** The seed from the environment, else a new one. */
export function seedOf(env: NodeJS.ProcessEnv = process.env): number {
  return env["SEED"] === undefined ? Date.now() % 1_000_000 : Number(env["SEED"]);
}

/** What has been done to an uplink. */
export type LinkFate = "plugged" | "unplugged" | "absent";

const PATIENCE_MS = 20_000;
/** Below the numbers of tables, so that text about one is not taken for the other. */
const LOWEST_METRIC = 2_000;
const METRICS = 5_000;

/**
 * What happens to the uplinks of a lab, at random and one thing after the other. Uplink 0 is left
 * alone.
 */
export class Churn {
  readonly #lab: Lab;
  readonly #random: Random;
  readonly #fates: LinkFate[];
  #last: Promise<void> = Promise.resolve();

  constructor(lab: Lab, random: Random) {
    this.#lab = lab;
    this.#random = random;
    this.#fates = lab.isps.map(() => "plugged");
  }

  fateOf(index: number): LinkFate {
    return this.#fates[index] ?? "absent";
  }

  /** Does one thing; resolves when the host's kernel shows it. */
  act(client: NetworkManagerClient): Promise<void> {
    const index = 1 + this.#random(this.#fates.length - 1);
    const dice = this.#random(8);
    const metric = LOWEST_METRIC + this.#random(METRICS);
    return this.#then(() => {
      if (this.fateOf(index) === "absent") return this.#add(index);
      if (dice === 0) return this.#remove(index);
      if (dice < 3) return this.#setMetric(client, index, metric);
      return this.fateOf(index) === "unplugged" ? this.#plug(index) : this.#unplug(index);
    });
  }

  /** Every uplink present and plugged in again. */
  restore(): Promise<void> {
    return this.#then(async () => {
      for (const [index, fate] of this.#fates.entries()) {
        if (fate === "absent") await this.#add(index);
        if (fate === "unplugged") await this.#plug(index);
      }
    });
  }

  #then(next: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(next);
    return this.#last;
  }

  async #add(index: number): Promise<void> {
    await this.#lab.addLink(index);
    await this.#plugged(index);
  }

  async #remove(index: number): Promise<void> {
    await this.#lab.removeLink(index);
    this.#fates[index] = "absent";
  }

  async #plug(index: number): Promise<void> {
    await this.#lab.plug(index);
    await this.#plugged(index);
  }

  async #unplug(index: number): Promise<void> {
    this.#fates[index] = "unplugged";
    await this.#lab.unplug(index);
  }

  /** The kernel tells of a carrier up to a second later; nobody can know of it before. */
  async #plugged(index: number): Promise<void> {
    const name = this.#lab.linkName(index);
    await until(
      async () => (await this.#lab.host.ip("-o", "link", "show", name)).includes("state UP"),
      { timeoutMs: PATIENCE_MS, what: `${name} up` },
    );
    this.#fates[index] = "plugged";
  }

  #setMetric(client: NetworkManagerClient, index: number, metric: number): Promise<void> {
    const link = this.#lab.linkName(index);
    const persist = metric % 2 === 0;
    return new Promise((resolve) => {
      // Refused where the value is taken, and lost where the controller was just killed.
      const deadline = Date.now() + 500;
      const request = { link, metric, swap: false, persist };
      client.setMetric(request, new Metadata(), { deadline }, () => resolve());
    });
  }
}
