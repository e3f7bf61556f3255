import type { Ifindex } from "@mnm/proto/net";
import type { Config } from "../config/index.js";
import { encodeState } from "../uplink/index.js";
import type { Outstanding } from "./convergence.js";
import { newsOfDuplicates } from "./duplicates.js";
import type { ManagedLink } from "./managed-link.js";
import type { Outbox } from "./outbox.js";
import type { Parts } from "./parts.js";
import { defaultLinkOf } from "./status.js";

export interface Circumstances {
  readonly config: Config;
  /** Everything of ours is to go, but for leases that are still being given back. */
  readonly isStopping: boolean;
}

/** What settling has come to. */
interface Outcome {
  /** The links that were looked at. */
  readonly touched: readonly Ifindex[];
  readonly isReplanned: boolean;
  readonly outstanding: Outstanding;
}

/**
 * From what is known of links to uplinks, to operations, to what is told: once for all that happened
 * since the last time, and of those links only that something happened to ({@link Agenda}).
 */
export class Settlement {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Answers whether all that was to go is gone. */
  settle({ config, isStopping }: Circumstances, outbox: Outbox): boolean {
    const { kernel, registry, driver, agenda, uplinks, convergence, helper } = this.#parts;
    const reassigned = registry.assignMetrics(config, kernel.routes.mainDefaults);
    for (const ifindex of [...reassigned, ...kernel.takeTouchedLinks()]) agenda.touch(ifindex);
    const touched = agenda.take(outbox.now);
    const links = this.#managedAt(touched);
    const isLeaving = driver.endLeaving(links, outbox.now);
    const isWithdrawing = isStopping && !isLeaving;
    if (isWithdrawing) for (const managed of links) uplinks.forget(managed);
    else this.#follow(links, config, outbox);

    const isReplanned = uplinks.takeChanged();
    const conditions = { touched, isReplanned, isWithdrawing, isHelperReady: helper.isReady };
    const outstanding = convergence.run(uplinks.current, conditions, outbox);
    // The settings as found must be on disk before ours are set.
    const changed = registry.takeChanges();
    if (changed !== undefined) outbox.push({ kind: "save-state", state: encodeState(changed) });
    convergence.send(outbox);

    this.#tell({ touched, isReplanned, outstanding }, config, outbox);
    for (const ifindex of touched) {
      const managed = isWithdrawing ? undefined : registry.managed.get(ifindex);
      agenda.schedule(ifindex, managed?.deadline());
    }
    return isWithdrawing && outstanding.isEmpty;
  }

  #managedAt(ifindexes: readonly Ifindex[]): readonly ManagedLink[] {
    return ifindexes.flatMap((ifindex) => this.#parts.registry.managed.get(ifindex) ?? []);
  }

  /** Lets ports, leases and uplinks follow what happened to these links. */
  #follow(links: readonly ManagedLink[], config: Config, outbox: Outbox): void {
    const { kernel, registry, driver, agenda, uplinks, helper } = this.#parts;
    for (const managed of links) {
      driver.drive(managed, kernel.addresses.of(managed.ifindex), outbox);
    }
    helper.openPorts(links, outbox);
    uplinks.review(links, kernel);
    const managed = registry.managed.values();
    const scene = { touched: links, managed, uplinks, isUnique: config.unique };
    for (const [link, event] of newsOfDuplicates(scene)) {
      driver.step(link, event, outbox);
      uplinks.review([link], kernel);
      agenda.touch(link.ifindex);
      agenda.schedule(link.ifindex, link.deadline());
    }
  }

  /** Tells everybody who listens, or waits for an answer, what came of it. */
  #tell({ touched, isReplanned, outstanding }: Outcome, config: Config, outbox: Outbox): void {
    const { kernel, registry, agenda, announcer, leaseRequests, metricChanges } = this.#parts;
    const { repairs, isMainSettled } = this.#parts.convergence;
    const uplinks = this.#parts.uplinks.current;
    // What is outstanding now may be there the next time, and then there is something to tell.
    const { isSharedMissing, links } = outstanding;
    const waiting = isSharedMissing ? [...registry.managed.keys()] : [...links];
    for (const ifindex of waiting) agenda.touch(ifindex);
    const concerned = [...new Set([...touched, ...waiting])].toSorted((a, b) => a - b);
    const defaultLink = defaultLinkOf(kernel);
    announcer.review(
      {
        managed: this.#managedAt(concerned),
        uplinks,
        isReplanned,
        outstanding,
        repairs,
        defaultLink,
        reason: metricChanges.arePending ? "operator" : "unspecified",
      },
      outbox,
    );
    announcer.legacy.send(config.legacyBroadcast, outbox);
    leaseRequests.finish(kernel, uplinks, outbox);
    const faultOf = ({ ifindex }: ManagedLink) => repairs.faultOf(ifindex)?.refusal;
    metricChanges.finish({ isMainSettled, faultOf, defaultLink }, outbox);
  }
}
