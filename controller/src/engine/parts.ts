import { KernelModel } from "../reconcile/index.js";
import type { PersistentState } from "../uplink/index.js";
import { Agenda } from "./agenda.js";
import { Announcer } from "./announcer.js";
import { Convergence } from "./convergence.js";
import { DhcpDriver, type EngineEnvironment } from "./dhcp-driver.js";
import { HelperLink } from "./helper-link.js";
import { LeaseRequests } from "./lease-requests.js";
import { MetricChanges } from "./metric-change.js";
import { Registry } from "./registry.js";
import { Uplinks } from "./uplinks.js";

/** What the engine is made of: those who know something of links, and those who act on it. */
export interface Parts {
  readonly kernel: KernelModel;
  readonly registry: Registry;
  readonly driver: DhcpDriver;
  readonly uplinks: Uplinks;
  readonly agenda: Agenda;
  readonly convergence: Convergence;
  readonly helper: HelperLink;
  readonly announcer: Announcer;
  readonly metricChanges: MetricChanges;
  readonly leaseRequests: LeaseRequests;
}

export function makeParts(environment: EngineEnvironment, state: PersistentState): Parts {
  const kernel = new KernelModel();
  const registry = new Registry(state);
  const driver = new DhcpDriver(environment, kernel);
  return {
    kernel,
    registry,
    driver,
    uplinks: new Uplinks(),
    agenda: new Agenda(),
    convergence: new Convergence(kernel, registry, environment.bootId),
    helper: new HelperLink(),
    announcer: new Announcer(),
    metricChanges: new MetricChanges(),
    leaseRequests: new LeaseRequests(driver),
  };
}
