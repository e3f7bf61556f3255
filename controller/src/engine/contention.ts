/**
 * Fights: objects of ours that another program keeps removing or changing, however often they are put
 * back.
 *
 * Whoever repairs at once, for ever, burns two programs' time and fills two logs, and the object is
 * half of the time not there anyway. So an object that had to be put back too often is put back
 * ever more rarely, and people are told. Objects do not depend on one another in this: what a fight is
 * not about is healed as before.
 */
import { after, type Ifindex, type Instant } from "@mnm/proto/net";
import { type ObjectKey, type Operation, operationKey, renderObject } from "../reconcile/index.js";
import type { Culprit } from "./culprit.js";

/** More repairs of an object than this… */
const MOST_REPAIRS = 5;
/** …within this time are a fight. */
const WINDOW_MS = 60_000;
const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 60_000;
/** It is over when the object has stayed untouched for this long. */
const CALM_MS = 60_000;

/** One fight over one object. */
export interface Episode {
  readonly key: ObjectKey;
  /** As {@link renderObject} names it. */
  readonly object: string;
  /** Undefined for an object of no link. */
  readonly ifindex: Ifindex | undefined;
  readonly since: Instant;
  /** Those that made it a fight included. */
  readonly repairs: number;
  readonly repairedAt: Instant;
  /** From the last repair to the next one, at least. */
  readonly pauseMs: number;
  /** Disturbed since the last repair. */
  readonly isTouched: boolean;
  /** Undefined until somebody has looked. */
  readonly culprit: Culprit | undefined;
}

export class Contention {
  /** When objects were repaired, at most {@link MOST_REPAIRS} times; longest untouched first. */
  readonly #repaired = new Map<ObjectKey, readonly Instant[]>();
  readonly #episodes = new Map<ObjectKey, Episode>();

  get episodes(): readonly Episode[] {
    return [...this.#episodes.values()];
  }

  has(key: ObjectKey): boolean {
    return this.#episodes.has(key);
  }

  /** An object was disturbed; answers before when it shall not be put back, if it is contended. */
  touch(key: ObjectKey): Instant | undefined {
    const episode = this.#episodes.get(key);
    if (episode === undefined) return undefined;
    this.#episodes.set(key, { ...episode, isTouched: true });
    return after(episode.repairedAt, episode.pauseMs);
  }

  /** Counts a repair; answers whether it is the one that makes it a fight. */
  repair(operation: Operation, now: Instant): boolean {
    const key = operationKey(operation);
    const episode = this.#episodes.get(key);
    if (episode !== undefined) {
      const pauseMs = Math.min(episode.pauseMs * 2, LAST_PAUSE_MS);
      const repairs = episode.repairs + 1;
      this.#episodes.set(key, { ...episode, repairs, pauseMs, repairedAt: now, isTouched: false });
      return false;
    }
    this.#forgetOld(now);
    const recent = (this.#repaired.get(key) ?? []).filter((at) => isWithin(WINDOW_MS, at, now));
    this.#repaired.delete(key);
    if (recent.length < MOST_REPAIRS) {
      this.#repaired.set(key, [...recent, now]);
      return false;
    }
    this.#episodes.set(key, {
      key,
      object: renderObject(operation),
      ifindex: operation.link?.ifindex,
      since: now,
      repairs: recent.length + 1,
      repairedAt: now,
      pauseMs: FIRST_PAUSE_MS,
      isTouched: false,
      culprit: undefined,
    });
    return true;
  }

  /** A disturbed object turned out to be wanted no more, or to be in place. */
  leave(key: ObjectKey, now: Instant): void {
    const episode = this.#episodes.get(key);
    if (episode?.isTouched) {
      this.#episodes.set(key, { ...episode, repairedAt: now, isTouched: false });
    }
  }

  /** Notes who is behind it; undefined when it is over already. */
  accuse(key: ObjectKey, culprit: Culprit): Episode | undefined {
    const episode = this.#episodes.get(key);
    if (episode === undefined) return undefined;
    const accused = { ...episode, culprit };
    this.#episodes.set(key, accused);
    return accused;
  }

  /** Ends the episodes of objects that have stayed untouched for long enough. */
  calm(now: Instant): readonly Episode[] {
    const over = this.episodes.filter(
      ({ isTouched, repairedAt }) => !isTouched && !isWithin(CALM_MS, repairedAt, now),
    );
    for (const { key } of over) this.#episodes.delete(key);
    return over;
  }

  /** The link is gone, and its objects with it. */
  forgetLink(ifindex: Ifindex): void {
    for (const [key, episode] of this.#episodes) {
      if (episode.ifindex === ifindex) this.#episodes.delete(key);
    }
  }

  deadlines(): readonly Instant[] {
    return this.episodes.flatMap(({ isTouched, repairedAt }) =>
      isTouched ? [] : [after(repairedAt, CALM_MS)],
    );
  }

  #forgetOld(now: Instant): void {
    for (const [key, times] of this.#repaired) {
      if (isWithin(WINDOW_MS, times.at(-1) ?? now, now)) return;
      this.#repaired.delete(key);
    }
  }
}

function isWithin(periodMs: number, start: Instant, now: Instant): boolean {
  return now < after(start, periodMs);
}
