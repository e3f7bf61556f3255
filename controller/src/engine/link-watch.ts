import type { Config } from "../config/index.js";
import type { Link } from "../link/index.js";
import type { ModelChange } from "../reconcile/index.js";
import type { ManagedLink } from "./managed-link.js";
import type { Outbox } from "./outbox.js";
import type { Parts } from "./parts.js";

/** Which links are managed follows what the kernel reports, and the configuration. */
export class LinkWatch {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** The first snapshot is there. Nobody is told: nothing has changed. */
  begin(config: Config, outbox: Outbox): void {
    const { kernel, registry } = this.#parts;
    // In order of ifindex, so that slots and metrics are given in that order the first time.
    const links = [...kernel.links.values()].toSorted((a, b) => a.ifindex - b.ifindex);
    for (const link of links) registry.select(link, config, outbox);
  }

  /** Follows changes, one after the other, and tells of all. */
  observe(changes: readonly ModelChange[], config: Config, outbox: Outbox): void {
    this.#vacate(changes);
    const { registry, convergence, announcer } = this.#parts;
    for (const change of changes) {
      if (change.kind === "link-added" || change.kind === "link-changed") {
        this.#select(change.link, config, outbox);
      }
      convergence.repairs.observe(change, outbox.now);
      announcer.change(change, registry, outbox);
      if (change.kind !== "link-removed") continue;
      const gone = registry.remove(change.link.ifindex);
      if (gone !== undefined) this.#release(gone, "link", outbox);
    }
  }

  /** Of several that exchange their names, none must be in the way of another. */
  #vacate(changes: readonly ModelChange[]): void {
    const { registry } = this.#parts;
    for (const change of changes) {
      if (change.kind !== "link-changed" || change.before.name === change.link.name) continue;
      const renamed = registry.managed.get(change.link.ifindex);
      if (renamed !== undefined) registry.vacate(renamed);
    }
  }

  /** Applies a configuration to every link. */
  configure(config: Config, outbox: Outbox): void {
    for (const link of this.#parts.kernel.links.values()) this.#select(link, config, outbox);
  }

  /** @param link as it was after a change: others of the same batch may have come since */
  #select(link: Link, config: Config, outbox: Outbox): void {
    const { kernel, registry, announcer, driver } = this.#parts;
    const { ifindex } = link;
    if (!kernel.links.has(ifindex)) return;
    const identity = registry.managed.get(ifindex)?.identity;
    const gone = registry.select(link, config, outbox);
    if (gone !== undefined) {
      this.#release(gone, "config", outbox);
      return;
    }
    const renamed = registry.managed.get(ifindex);
    if (identity === undefined || renamed === undefined || renamed.identity === identity) return;
    announcer.rename(renamed);
    driver.keepUnder(renamed, outbox);
  }

  #release(gone: ManagedLink, reason: "link" | "config", outbox: Outbox): void {
    const { announcer, uplinks } = this.#parts;
    uplinks.forget(gone);
    announcer.forget(gone, reason, outbox);
    if (gone.port !== "closed") outbox.push({ kind: "close-packets", ifindexes: [gone.ifindex] });
  }
}
