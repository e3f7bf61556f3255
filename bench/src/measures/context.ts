import type { Bed } from "../bed.js";
import type { Figures, Unit } from "../figures.js";
import type { Peer } from "../peer.js";
import type { Tools } from "../tools.js";

/** What a measure gets. */
export interface Context {
  readonly tools: Tools;
  /** MNM first. */
  readonly peers: readonly Peer[];
  readonly figures: Figures;
  /** N and RUNS where the caller gave them; else each measure has its own. */
  readonly links: readonly number[] | undefined;
  readonly runs: number | undefined;
  readonly quick: boolean;
}

/** Adds a value of this bed. */
export function note(
  { figures }: Context,
  bed: Pick<Bed, "peer" | "links">,
  [measure, unit]: readonly [string, Unit],
  value: number | undefined,
): void {
  figures.add({ measure, unit, links: bed.links.length, peer: bed.peer.name }, value);
}

/** From one instant to another, when there were both. */
export function between(from: number | undefined, to: number | undefined): number | undefined {
  return from === undefined || to === undefined ? undefined : to - from;
}

/** The latest of them; undefined when one is missing. */
export function latest(...instants: readonly (number | undefined)[]): number | undefined {
  const known = instants.filter((instant) => instant !== undefined);
  return known.length < instants.length ? undefined : Math.max(...known);
}
