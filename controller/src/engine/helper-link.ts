import { after, type Instant } from "@mnm/proto/net";
import { linkRefOf } from "../link/index.js";
import { forgetGuard } from "./arp-driver.js";
import type { ManagedLink } from "./managed-link.js";
import type { HelperInfo, PortOutcome } from "./messages.js";
import type { Outbox } from "./outbox.js";
import type { Registry } from "./registry.js";
import type { HelperStatus } from "./status.js";

const RETRY_MS = 1_000;

/**
 * The helper as the engine sees it, and its packet ports: opened as soon as a link is managed by DHCP, before it has carrier, so
 * that opening is not on the way to a lease.
 */
export class HelperLink {
  #status: HelperStatus = { kind: "unreachable", text: "not connected yet" };
  #wasReady = false;

  get status(): HelperStatus {
    return this.#status;
  }

  get isReady(): boolean {
    return this.#status.kind === "ready";
  }

  /** Answers whether it had been lost: what it had under way then, nobody knows. */
  ready(info: HelperInfo, managed: Iterable<ManagedLink>): boolean {
    this.#status = { kind: "ready", info };
    this.#closePorts(managed);
    const isBack = this.#wasReady;
    this.#wasReady = true;
    return isBack;
  }

  lost(text: string, managed: Iterable<ManagedLink>, outbox: Outbox): void {
    this.#status = { kind: "unreachable", text };
    this.#closePorts(managed);
    outbox.log("warn", "Helper is not reachable", { text });
  }

  openPorts(managed: readonly ManagedLink[], outbox: Outbox): void {
    if (!this.isReady) return;
    const waiting = managed.filter((candidate) => isDue(candidate, outbox.now));
    for (const link of waiting) link.port = "opening";
    if (waiting.length === 0) return;
    outbox.push({ kind: "open-packets", links: waiting.map(({ link }) => linkRefOf(link)) });
  }

  portsOpened(results: readonly PortOutcome[], registry: Registry, outbox: Outbox): void {
    for (const { ifindex, refusal } of results) {
      const managed = registry.managed.get(ifindex);
      if (managed === undefined) continue;
      managed.port = refusal === undefined ? "open" : "closed";
      if (refusal === undefined) continue;
      managed.portRetryAt = after(outbox.now, RETRY_MS);
      outbox.log("warn", "Packet port could not be opened", {
        link: managed.name,
        text: refusal.text,
      });
    }
  }

  /** They went with the connection. */
  #closePorts(managed: Iterable<ManagedLink>): void {
    for (const link of managed) {
      // So did, perhaps, what it was to send, or an answer: what is being asked is asked again.
      if (link.port === "open") link.sendFailed = true;
      link.port = "closed";
      link.portRetryAt = undefined;
      forgetGuard(link);
    }
  }
}

/** Forgets when it was to be opened again, once that time has come. */
function isDue(managed: ManagedLink, now: Instant): boolean {
  if (managed.portRetryAt !== undefined && managed.portRetryAt > now) return false;
  managed.portRetryAt = undefined;
  const needsPort = managed.method.kind === "dhcp" && managed.link.mac !== undefined;
  return needsPort && managed.port === "closed";
}
