import { after, type Instant } from "@mnm/proto/net";
import { isUsable } from "../link/index.js";
import { type KernelModel, MNM_PROTOCOL } from "../reconcile/index.js";
import type { Uplink } from "../uplink/index.js";
import type { DhcpDriver } from "./dhcp-driver.js";
import type { ManagedLink } from "./managed-link.js";
import type { EngineRequest, GivenUpLease, RequestFault } from "./messages.js";
import { refuse, unknownLink } from "./metric-change.js";
import type { Outbox } from "./outbox.js";
import type { Registry } from "./registry.js";
import type { HelperStatus } from "./status.js";

/** What an operator may ask of the lease of one link. */
export type LeaseRequest = EngineRequest & { kind: "renew" | "release" | "reconnect" };

/** What is looked at to judge a request. */
export interface LeaseScene {
  readonly registry: Registry;
  readonly kernel: KernelModel;
  readonly helper: HelperStatus;
}

/** A release whose address, routes and rules are on their way out of the kernel. */
interface Release {
  readonly id: number;
  readonly managed: ManagedLink;
  readonly givenUp: GivenUpLease | undefined;
  readonly deadline: Instant;
}

/** The kernel is clean within milliseconds of the RELEASE's leaving; mnmctl waits for 5 s. */
const TIMEOUT_MS = 4_000;

/** Carries out what operators ask of leases, and answers a release once the kernel has followed. */
export class LeaseRequests {
  readonly #driver: DhcpDriver;
  #releases: readonly Release[] = [];

  constructor(driver: DhcpDriver) {
    this.#driver = driver;
  }

  begin(id: number, request: LeaseRequest, scene: LeaseScene, outbox: Outbox): void {
    const managed = scene.registry.byName(request.link);
    if (managed === undefined) {
      refuse(id, unknownLink(request.link, scene.kernel), outbox);
      return;
    }
    const fault = faultOf(request, managed, scene.helper);
    if (fault === undefined) this.#carryOut(id, request.kind, managed, outbox);
    else refuse(id, fault, outbox);
  }

  /** Answers the releases that the kernel has followed, or has not in time. */
  finish(kernel: KernelModel, uplinks: ReadonlyMap<ManagedLink, Uplink>, outbox: Outbox): void {
    this.#releases = this.#releases.filter(({ id, managed, givenUp, deadline }) => {
      if (!uplinks.has(managed) && !holdsAnything(managed, kernel)) {
        outbox.push({ kind: "reply", id, reply: { kind: "released", givenUp } });
      } else if (outbox.now >= deadline) {
        const text = `the lease of ${managed.name} is given up, but the kernel still has something of it`;
        refuse(id, { code: "timeout", text }, outbox);
      } else {
        return true;
      }
      return false;
    });
  }

  deadline(): Instant | undefined {
    return this.#releases[0]?.deadline;
  }

  #carryOut(id: number, kind: LeaseRequest["kind"], managed: ManagedLink, outbox: Outbox): void {
    switch (kind) {
      case "renew":
        this.#driver.renew(managed, outbox);
        outbox.push({ kind: "reply", id, reply: { kind: "renewing" } });
        return;
      case "reconnect": {
        const givenUp = this.#driver.reconnect(managed, outbox);
        outbox.push({ kind: "reply", id, reply: { kind: "reconnecting", givenUp } });
        return;
      }
      case "release": {
        const givenUp = this.#driver.release(managed, outbox);
        const deadline = after(outbox.now, TIMEOUT_MS);
        this.#releases = [...this.#releases, { id, managed, givenUp, deadline }];
        return;
      }
    }
  }
}

function faultOf(
  { kind, link }: LeaseRequest,
  managed: ManagedLink,
  helper: HelperStatus,
): RequestFault | undefined {
  if (managed.method.kind !== "dhcp") return { code: "no-dhcp", link };
  if (helper.kind === "unreachable") return { code: "helper-unavailable", text: helper.text };
  if (kind === "release" || isUsable(managed.link)) return undefined;
  return { code: "no-carrier", link, isReleased: managed.isReleased };
}

/** Whether the kernel still has an address, a route or a rule of ours because of this link. */
function holdsAnything({ ifindex, table, name }: ManagedLink, kernel: KernelModel): boolean {
  const isOurs = ({ protocol }: { readonly protocol: number }) => protocol === MNM_PROTOCOL;
  const addresses = [...kernel.addresses.values()].filter(isOurs);
  const routes = [...kernel.routes.values()].filter(isOurs);
  const rules = [...kernel.rules.values()].filter(isOurs);
  return (
    addresses.some((address) => address.ifindex === ifindex) ||
    routes.some((route) => route.table === table || route.ifindex === ifindex) ||
    rules.some((rule) => rule.table === table || rule.oif === name)
  );
}
