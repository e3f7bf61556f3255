import type { EngineEffect, HostStatus } from "../engine/index.js";
import type { NetworkEvent } from "../events/index.js";

/**
 * What somebody believes who hears only what the engine announces, checked against what it holds.
 * Every contradiction is kept, in words.
 */
export class LeaseListener {
  readonly contradictions: string[] = [];
  /** How often each kind of event was heard. */
  readonly heard = new Map<string, number>();
  readonly #leases = new Map<string, string>();
  readonly #usable = new Map<string, string>();

  hear(effect: EngineEffect): void {
    if (effect.kind === "emit") this.#hearEvent(effect.event);
    // A lease that ends because its link does has no event of its own: the link's event tells.
    if (effect.kind === "log" && effect.entry.message === "lease set aside") {
      this.#leases.delete(String(effect.entry.fields["link"]));
    }
  }

  /** Leases announced are leases held, and what is usable has the address of its lease. */
  compare({ links }: HostStatus, addressOf: (status: HostStatus["links"][number]) => string): void {
    for (const status of links) {
      const { name } = status.link;
      const held = addressOf(status);
      const announced = this.#leases.get(name) ?? "";
      if (held !== announced) this.#contradict(`${name} holds "${held}", announced "${announced}"`);
      const usable = this.#usable.get(name) ?? held;
      if (usable !== held) this.#contradict(`${name} holds "${held}", but ${usable} is usable`);
    }
  }

  #hearEvent({ kind, link, before, after }: NetworkEvent): void {
    this.heard.set(kind, (this.heard.get(kind) ?? 0) + 1);
    const name: string = link?.name ?? "";
    const known = this.#leases.get(name) ?? "";
    switch (kind) {
      case "lease-bound":
        if (known !== "") this.#contradict(`${name} bound to ${after} while it has ${known}`);
        this.#leases.set(name, after);
        return;
      case "lease-renewed":
      case "lease-rebinding":
        if (known !== before) this.#contradict(`${kind} of ${name}: ${before}, known ${known}`);
        this.#leases.set(name, after);
        return;
      case "lease-expired":
      case "lease-refused":
      case "lease-declined":
        if (known !== before) this.#contradict(`${kind} of ${name}: ${before}, known ${known}`);
        this.#leases.delete(name);
        return;
      case "link-removed":
        this.#leases.delete(name);
        return;
      case "uplink-usable":
        this.#usable.set(name, after);
        return;
      case "uplink-unusable":
        this.#usable.delete(name);
        return;
      default:
        return;
    }
  }

  #contradict(text: string): void {
    this.contradictions.push(text);
  }
}
