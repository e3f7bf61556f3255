/** Links that are renamed, deleted, created, set up and down at random, faster than anybody can follow. */
import type { Random } from "./churn.js";

/** Managed by name, each with an address that says so. */
export const MANAGED_NAMES = ["s0", "s1", "s2"];
const IGNORED_NAMES = ["i0", "i1", "i2", "i3", "i4", "i5"];
/** Managed by its MAC, whatever its name. */
export const MANAGED_MAC = "02:00:00:00:ee:ee";

const LINKS = 6;
const FIRST_IFINDEX = 500;

export const RACE_CONFIG = `default: ignore
links:
  wan0: {}
  by-mac: { match: { mac: "${MANAGED_MAC}" }, method: static, address: ${addressOf("by-mac")}/24, gateway: 10.77.9.1 }
${MANAGED_NAMES.map((name) => `  ${name}: { method: static, address: ${addressOf(name)}/24, gateway: 10.77.${name.slice(1)}.1 }`).join("\n")}
`;

/** The static address of a configuration entry. */
export function addressOf(entry: string): string {
  return `10.77.${entry === "by-mac" ? 9 : entry.slice(1)}.2`;
}

/** The entry that a link of this name and MAC follows: a name beats a MAC. */
export function entryOf(name: string, mac: string): string | undefined {
  if (MANAGED_NAMES.includes(name)) return name;
  return mac === MANAGED_MAC ? "by-mac" : undefined;
}

interface RacingLink {
  readonly place: number;
  readonly name: string;
  readonly mac: string;
}

/** Lines for `ip -b`, none of which fails: the names are free, the links there. */
export class Race {
  readonly lines: string[] = [];
  readonly #random: Random;
  readonly #links: RacingLink[] = [];

  constructor(random: Random) {
    this.#random = random;
    for (let place = 0; place < LINKS; place++) this.#create(place);
  }

  /** Goes on until there are that many lines. */
  run(count: number): readonly string[] {
    while (this.lines.length < count) this.#step();
    // What is up at the end is to be there at the end.
    for (const { name } of this.#links) this.lines.push(`link set ${name} up`);
    return this.lines;
  }

  #step(): void {
    const link = this.#pick(this.#links);
    const dice = this.#random(100);
    if (dice < 40) this.#rename(link, this.#pick(this.#freeNames()));
    else if (dice < 55) this.lines.push(`link set ${link.name} down`);
    else if (dice < 75) this.lines.push(`link set ${link.name} up`);
    else if (dice < 82) this.#swap(link, this.#pick(this.#links));
    else if (dice < 90) this.#changeMac(link);
    else this.#replace(link);
  }

  #rename(link: RacingLink, name: string): void {
    this.lines.push(`link set ${link.name} name ${name}`);
    this.#links[link.place] = { ...link, name };
  }

  #swap(one: RacingLink, other: RacingLink): void {
    if (one === other) return;
    const { name } = one;
    this.#rename(one, "swapping");
    this.#rename(other, name);
    this.#rename({ ...one, name: "swapping" }, other.name);
  }

  #changeMac(link: RacingLink): void {
    const mac = this.#macFor(link.place);
    this.lines.push(`link set ${link.name} address ${mac}`);
    this.#links[link.place] = { ...link, mac };
  }

  /** Another link takes the ifindex, and maybe the name or the MAC. */
  #replace(link: RacingLink): void {
    this.lines.push(`link del ${link.name}`);
    this.#create(link.place);
  }

  #create(place: number): void {
    const others = this.#links.filter((link) => link.place !== place);
    const taken = others.map(({ name }) => name);
    const free = [...MANAGED_NAMES, ...IGNORED_NAMES].filter((name) => !taken.includes(name));
    const link = { place, name: this.#pick(free), mac: this.#macFor(place) };
    this.#links[place] = link;
    const index = FIRST_IFINDEX + place * 2;
    const peer = `peer name p${place} index ${index + 1}`;
    this.lines.push(
      `link add ${link.name} index ${index} address ${link.mac} type veth ${peer}`,
      `link set p${place} up`,
      `link set ${link.name} up`,
    );
  }

  /** Its own, or the one that is managed, which one link has at a time. */
  #macFor(place: number): string {
    const isFree = this.#links.every((link) => link.place === place || link.mac !== MANAGED_MAC);
    const isManaged = isFree && this.#random(2) === 0;
    return isManaged ? MANAGED_MAC : `02:00:00:00:ee:0${place}`;
  }

  #freeNames(): readonly string[] {
    const taken = this.#links.map(({ name }) => name);
    return [...MANAGED_NAMES, ...IGNORED_NAMES].filter((name) => !taken.includes(name));
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[this.#random(items.length)];
    if (item === undefined) throw new Error("Nothing to pick from");
    return item;
  }
}
