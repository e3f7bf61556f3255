import type { Ifindex, Instant } from "@mnm/proto/net";

interface Appointment {
  readonly at: Instant;
  readonly ifindex: Ifindex;
}

/**
 * Which links have to be looked at: those that something happened to, and those whose time has come.
 * All others are as they were, so that an event costs the same however many there are.
 */
export class Agenda {
  readonly #touched = new Set<Ifindex>();
  readonly #deadlines = new Map<Ifindex, Instant>();
  /** The same, in order. */
  readonly #appointments: Appointment[] = [];

  /** Something happened to the link, or may have. */
  touch(ifindex: Ifindex): void {
    this.#touched.add(ifindex);
  }

  /** The links whose deadline has come, earliest first. */
  due(now: Instant): readonly Ifindex[] {
    return this.#appointments.slice(0, this.#placeOf({ at: now, ifindex: LAST })).map(ifindexOf);
  }

  /** What has to be looked at now, in order of ifindex. It is forgotten by this. */
  take(now: Instant): readonly Ifindex[] {
    for (const ifindex of this.due(now)) this.#touched.add(ifindex);
    const taken = [...this.#touched].toSorted((a, b) => a - b);
    this.#touched.clear();
    return taken;
  }

  /** Says when the link has to be looked at next, whether or not anything happens to it. */
  schedule(ifindex: Ifindex, at: Instant | undefined): void {
    const before = this.#deadlines.get(ifindex);
    if (before === at) return;
    if (before !== undefined) {
      this.#appointments.splice(this.#placeOf({ at: before, ifindex }), 1);
      this.#deadlines.delete(ifindex);
    }
    if (at === undefined) return;
    this.#appointments.splice(this.#placeOf({ at, ifindex }), 0, { at, ifindex });
    this.#deadlines.set(ifindex, at);
  }

  deadline(): Instant | undefined {
    return this.#appointments[0]?.at;
  }

  /** Where the appointment is, or would be, by binary search. */
  #placeOf({ at, ifindex }: Pick<Appointment, "at"> & { readonly ifindex: number }): number {
    let [low, high] = [0, this.#appointments.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#appointments[middle];
      if (other === undefined) break;
      const isBefore = other.at < at || (other.at === at && other.ifindex < ifindex);
      if (isBefore) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Greater than any ifindex. */
const LAST = Number.POSITIVE_INFINITY;

function ifindexOf({ ifindex }: Appointment): Ifindex {
  return ifindex;
}
