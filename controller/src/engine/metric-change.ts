import { after, type Instant } from "@mnm/proto/net";
import type { Config } from "../config/index.js";
import {
  type KernelModel,
  type KernelRoute,
  MAIN_TABLE,
  MNM_PROTOCOL,
  type Operation,
  renderOperation,
} from "../reconcile/index.js";
import { MAX_METRIC, MIN_METRIC } from "../uplink/index.js";
import type { ManagedLink } from "./managed-link.js";
import type { EngineReply, EngineRequest, Refusal, RequestFault } from "./messages.js";
import type { Outbox } from "./outbox.js";
import type { Registry } from "./registry.js";
import type { HelperStatus } from "./status.js";

/** A metric change that was accepted and is on its way into the kernel. */
interface MetricChange {
  readonly id: number;
  readonly managed: ManagedLink;
  readonly oldMetric: number;
  readonly newMetric: number;
  readonly swappedWith: string;
  readonly oldDefault: string;
  readonly persisted: boolean;
  readonly changes: string[];
  readonly deadline: Instant;
}

/** A batch takes milliseconds; this long means that something is wrong. */
const TIMEOUT_MS = 4_000;

export type SetMetric = EngineRequest & { kind: "set-metric" };

/** What is looked at to judge a request. */
export interface MetricScene {
  readonly registry: Registry;
  readonly kernel: KernelModel;
  readonly config: Config;
  readonly helper: HelperStatus;
  readonly now: Instant;
  readonly defaultLink: string | undefined;
}

/** How far the kernel is, as those who wait for it look at it. */
export interface MetricOutcome {
  /** No operation on main's defaults is outstanding. */
  readonly isMainSettled: boolean;
  readonly faultOf: (managed: ManagedLink) => Refusal | undefined;
  readonly defaultLink: string | undefined;
}

/** The metric changes that operators wait for: each is answered once the kernel has confirmed it. */
export class MetricChanges {
  #pending: readonly MetricChange[] = [];

  get arePending(): boolean {
    return this.#pending.length > 0;
  }

  begin(id: number, request: SetMetric, scene: MetricScene, outbox: Outbox): void {
    const begun = begin(id, request, scene);
    if ("fault" in begun) refuse(id, begun.fault, outbox);
    else this.#pending = [...this.#pending, begun.change];
  }

  /** Something changed in the kernel while they waited. */
  note(operation: Operation): void {
    for (const { changes } of this.#pending) changes.push(renderOperation(operation));
  }

  finish({ isMainSettled, faultOf, defaultLink }: MetricOutcome, outbox: Outbox): void {
    this.#pending = this.#pending.filter((change) => {
      const refusal = faultOf(change.managed);
      if (refusal !== undefined) {
        refuse(change.id, { code: "kernel-refused", refusal }, outbox);
      } else if (isMainSettled) {
        outbox.push({ kind: "reply", id: change.id, reply: replyOf(change, defaultLink) });
      } else if (outbox.now >= change.deadline) {
        const text = "the change did not reach the kernel in time";
        refuse(change.id, { code: "timeout", text }, outbox);
      } else {
        return true;
      }
      return false;
    });
  }

  deadline(): Instant | undefined {
    return this.#pending[0]?.deadline;
  }
}

export function refuse(id: number, fault: RequestFault, outbox: Outbox): void {
  outbox.push({ kind: "reply", id, reply: { kind: "refused", fault } });
}

/** Accepts a request and sets the metrics in the registry, or says why not. */
function begin(
  id: number,
  request: SetMetric,
  scene: MetricScene,
): { readonly change: MetricChange } | { readonly fault: RequestFault } {
  const { registry, config, now, defaultLink } = scene;
  const managed = registry.byName(request.link);
  const fault = faultOf(request, managed, scene);
  if (fault !== undefined || managed?.metric === undefined) {
    return { fault: fault ?? { code: "not-managed", link: request.link } };
  }
  const oldMetric = managed.metric.value;
  const holder =
    oldMetric === request.metric ? undefined : registry.holderOf(request.metric, config)?.managed;
  if (holder !== undefined) registry.setMetric(holder.identity, oldMetric, request.persist);
  registry.setMetric(managed.identity, request.metric, request.persist);
  const change: MetricChange = {
    id,
    managed,
    oldMetric,
    newMetric: request.metric,
    swappedWith: holder?.name ?? "",
    oldDefault: defaultLink ?? "",
    persisted: request.persist,
    changes: [],
    deadline: after(now, TIMEOUT_MS),
  };
  return { change };
}

function replyOf(change: MetricChange, defaultLink: string | undefined): EngineReply {
  const { oldMetric, newMetric, swappedWith, oldDefault, changes, persisted } = change;
  const newDefault = defaultLink ?? "";
  return {
    kind: "metric-set",
    oldMetric,
    newMetric,
    swappedWith,
    oldDefault,
    newDefault,
    changes,
    persisted,
  };
}

function faultOf(
  { link, metric, swap, persist }: SetMetric,
  managed: ManagedLink | undefined,
  { registry, kernel, config, helper }: MetricScene,
): RequestFault | undefined {
  if (helper.kind === "unreachable") return { code: "helper-unavailable", text: helper.text };
  if (managed === undefined) return unknownLink(link, kernel);
  if (!Number.isInteger(metric) || metric < MIN_METRIC || metric > MAX_METRIC) {
    return { code: "invalid-metric", metric };
  }
  if (managed.metric?.value === metric && !persist) return undefined;
  const foreign = foreignHolder(metric, kernel);
  if (foreign !== undefined) return { code: "metric-foreign", metric, holder: foreign };
  const holder = registry.holderOf(metric, config);
  const involved = [managed.identity, swap ? holder?.managed?.identity : undefined];
  const claimant = persist ? registry.claimantOf(metric, involved) : undefined;
  if (claimant !== undefined) return { code: "metric-taken", metric, holder: claimant };
  if (holder === undefined || holder.managed === managed) return undefined;
  const canSwap = swap && holder.managed !== undefined;
  return canSwap ? undefined : { code: "metric-taken", metric, holder: holder.name };
}

/** The refusal for a link that is not managed, or not there at all. */
export function unknownLink(link: string, kernel: KernelModel): RequestFault {
  const present = [...kernel.links.values()].filter(({ loopback }) => !loopback);
  if (present.some(({ name }) => name === link)) return { code: "not-managed", link };
  const links = present.map(({ name }) => name).toSorted();
  const isLoopback = [...kernel.links.values()].some(({ name }) => name === link);
  return { code: isLoopback ? "loopback" : "no-such-link", link, links };
}

function foreignHolder(metric: number, kernel: KernelModel): string | undefined {
  const route = [...kernel.routes.values()].find(
    (candidate) =>
      candidate.table === MAIN_TABLE &&
      candidate.destination.length === 0 &&
      candidate.metric === metric &&
      candidate.protocol !== MNM_PROTOCOL,
  );
  if (route === undefined) return undefined;
  const link = route.ifindex === undefined ? undefined : kernel.links.get(route.ifindex);
  return `another program's default route${link === undefined ? "" : ` on ${link.name}`}`;
}

/** Metrics of other programs' defaults in main, as far as an uplink could have them. */
export function foreignMetrics(defaults: readonly KernelRoute[]): ReadonlySet<number> {
  const foreign = defaults.filter(
    ({ protocol, metric }) => protocol !== MNM_PROTOCOL && metric <= MAX_METRIC,
  );
  return new Set(foreign.map(({ metric }) => metric));
}
