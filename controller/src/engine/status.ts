import { formatIpv4, type Ifindex, type Instant, type Ipv4 } from "@mnm/proto/net";
import type { ConfigProblem } from "../config/index.js";
import type { DhcpState, Lease } from "../dhcp4/index.js";
import { isUsable, type Link, type LinkKind, linkKindOf } from "../link/index.js";
import { ownersOfAddresses } from "../plan/index.js";
import {
  type KernelAddress,
  type KernelModel,
  MAIN_TABLE,
  MNM_PROTOCOL,
} from "../reconcile/index.js";
import type { Uplink } from "../uplink/index.js";
import { adviceAbout, type Culprit, nameOfCulprit } from "./culprit.js";
import { leaseOfLink } from "./dhcp-driver.js";
import type { LinkState, ManagedLink } from "./managed-link.js";
import type { HelperInfo, Refusal } from "./messages.js";
import type { Registry } from "./registry.js";
import type { Repairs } from "./repairs.js";
import { type WaitStatus, waitOf, warningOfWait } from "./setback.js";

/** The host, as `mnmctl status` shows it. */
export interface HostStatus {
  readonly helper: HelperStatus;
  readonly configFile: string;
  readonly configProblems: readonly ConfigProblem[];
  readonly defaultLink: string | undefined;
  readonly links: readonly LinkStatus[];
  readonly warnings: readonly { readonly link: string; readonly text: string }[];
  /** What belongs to no link and is contended. */
  readonly contended: readonly Contended[];
  readonly isSettled: boolean;
}

/** Something of ours that another program keeps changing. */
export interface Contended {
  /** In the words of ip(8). */
  readonly object: string;
  /** Empty when there is no sign of anybody. */
  readonly culprit: string;
  /** What to do about it. */
  readonly hint: string;
  readonly repairs: number;
  readonly since: Instant;
}

export type HelperStatus =
  | { readonly kind: "ready"; readonly info: HelperInfo }
  | { readonly kind: "unreachable"; readonly text: string };

export interface LinkStatus {
  readonly link: Link;
  readonly kind: LinkKind;
  readonly addresses: readonly KernelAddress[];
  readonly isDefault: boolean;
  readonly state: LinkState;
  readonly contended: readonly Contended[];
  /** Undefined while the link is not managed. */
  readonly managed: ManagedStatus | undefined;
}

export interface ManagedStatus {
  readonly identity: string;
  readonly method: ManagedLink["method"]["kind"];
  readonly table: number;
  readonly metric: ManagedLink["metric"];
  readonly gateway: Ipv4 | undefined;
  /** Whose the address in use is; undefined while there is none. */
  readonly origin: Uplink["addressing"]["origin"] | undefined;
  readonly lease: Lease | undefined;
  readonly dhcpState: DhcpState["kind"] | undefined;
  readonly wait: WaitStatus | undefined;
  readonly counters: ReadonlyMap<string, number>;
  readonly fault: Refusal | undefined;
  readonly since: number;
  readonly sharesAddressWith: string | undefined;
}

/** What the status is made of. */
export interface StatusScene {
  readonly now: Instant;
  readonly kernel: KernelModel;
  readonly registry: Registry;
  readonly repairs: Repairs;
  readonly uplinks: ReadonlyMap<ManagedLink, Uplink>;
  readonly helper: HelperStatus;
  readonly configFile: string;
  readonly configProblems: readonly ConfigProblem[];
  readonly isSettled: boolean;
}

/** The link that unbound traffic uses: that of the lowest default in main which has carrier. */
export function defaultLinkOf(kernel: KernelModel): string | undefined {
  for (const { ifindex } of kernel.routes.mainDefaults) {
    const link = ifindex === undefined ? undefined : kernel.links.get(ifindex);
    if (link !== undefined && isUsable(link)) return link.name;
  }
  return undefined;
}

export function hostStatus(scene: StatusScene): HostStatus {
  const { kernel } = scene;
  const defaultLink = defaultLinkOf(kernel);
  const owners = ownersOfAddresses([...scene.uplinks.values()]);
  const contended = contendedByLink(scene);
  const links = [...kernel.links.values()]
    .filter(({ loopback }) => !loopback)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((link) => ({
      ...linkStatus(link, defaultLink, owners, scene),
      contended: contended.get(link.ifindex) ?? [],
    }));
  return {
    helper: scene.helper,
    configFile: scene.configFile,
    configProblems: scene.configProblems,
    defaultLink,
    links,
    contended: contended.get(undefined) ?? [],
    warnings: [
      ...warningsOfLinks(links, scene.now),
      ...warningsOfFights(links, contended.get(undefined) ?? []),
      ...warningsOfHost(scene),
    ],
    isSettled: scene.isSettled,
  };
}

function linkStatus(
  link: Link,
  defaultLink: string | undefined,
  owners: ReadonlyMap<Ipv4, Uplink>,
  scene: StatusScene,
): Omit<LinkStatus, "contended"> {
  const { kernel, registry } = scene;
  const managed = registry.managed.get(link.ifindex);
  const addresses = [...kernel.addresses.values()]
    .filter(({ ifindex }) => ifindex === link.ifindex)
    .toSorted((a, b) => Number(b.protocol === MNM_PROTOCOL) - Number(a.protocol === MNM_PROTOCOL));
  return {
    link,
    kind: linkKindOf(link),
    addresses,
    isDefault: link.name === defaultLink,
    state: managed?.state.kind ?? "ignored",
    managed: managed === undefined ? undefined : managedStatus(managed, owners, scene),
  };
}

function managedStatus(
  managed: ManagedLink,
  owners: ReadonlyMap<Ipv4, Uplink>,
  { uplinks, repairs }: StatusScene,
): ManagedStatus {
  const uplink = uplinks.get(managed);
  const owner = uplink === undefined ? undefined : owners.get(uplink.addressing.address);
  return {
    identity: managed.identity,
    method: managed.method.kind,
    table: managed.table,
    metric: managed.metric,
    gateway: uplink?.addressing.gateway,
    origin: uplink?.addressing.origin,
    lease: leaseOfLink(managed),
    dhcpState: managed.method.kind === "dhcp" ? managed.dhcp.kind : undefined,
    wait: waitOf(managed),
    counters: managed.counters,
    fault: repairs.faultOf(managed.ifindex)?.refusal,
    since: managed.state.since,
    sharesAddressWith: owner === undefined || owner === uplink ? undefined : owner.link.name,
  };
}

function warningsOfLinks(links: readonly LinkStatus[], now: Instant) {
  return links.flatMap(({ link, addresses, managed, state }) => {
    const warnings: { link: string; text: string }[] = [];
    if (managed?.sharesAddressWith !== undefined) {
      const [address] = addresses;
      warnings.push({
        link: link.name,
        text: `shares address ${formatAddressOf(address)} with ${managed.sharesAddressWith}; only sockets bound to the device use it`,
      });
    }
    const isBorrowed = managed?.method !== "adopt" && managed?.origin === "adopted";
    if (isBorrowed) {
      warnings.push({
        link: link.name,
        text: "another program has put the same address on the link; MNM uses it and leaves it to that program (is another DHCP client running?)",
      });
    }
    if (state === "released") {
      warnings.push({
        link: link.name,
        text: `released (mnmctl reconnect ${link.name} brings it back)`,
      });
    }
    if (managed?.wait?.isLong) {
      warnings.push({ link: link.name, text: warningOfWait(managed.wait, link.name, now) });
    }
    if (managed?.fault !== undefined) warnings.push({ link: link.name, text: managed.fault.text });
    return warnings;
  });
}

function contendedByLink({ kernel, repairs }: StatusScene) {
  const byLink = new Map<Ifindex | undefined, Contended[]>();
  for (const episode of repairs.contention.episodes) {
    const { object, ifindex, repairs: count, since } = episode;
    const link = ifindex === undefined ? undefined : kernel.links.get(ifindex)?.name;
    const { culprit = NOBODY } = episode;
    const contended = {
      object,
      culprit: nameOfCulprit(culprit),
      hint: adviceAbout(culprit, link),
      repairs: count,
      since,
    };
    const others = byLink.get(ifindex);
    if (others === undefined) byLink.set(ifindex, [contended]);
    else others.push(contended);
  }
  return byLink;
}

const NOBODY: Culprit = { kind: "unknown", suspects: [] };

/** One a link, as a program that fights over one object often fights over its neighbours. */
function warningsOfFights(links: readonly LinkStatus[], shared: readonly Contended[]) {
  const fights = [
    ...links.map(({ link, contended }) => [link.name, contended] as const),
    ["", shared] as const,
  ];
  return fights.flatMap(([link, contended]) => {
    const [first, ...others] = contended;
    if (first === undefined) return [];
    const more = others.length === 0 ? "" : ` and ${others.length} more`;
    const who = first.culprit === "" ? "another program" : first.culprit;
    return [
      { link, text: `contended: ${who} keeps changing ${first.object}${more}; ${first.hint}` },
    ];
  });
}

function warningsOfHost({ kernel, registry, helper, configProblems }: StatusScene) {
  const warnings: { link: string; text: string }[] = [];
  if (helper.kind === "unreachable") {
    warnings.push({
      link: "",
      text: `helper is not reachable (${helper.text}); the kernel keeps what it has, nothing can be changed`,
    });
  }
  const [problem] = configProblems;
  if (problem !== undefined) {
    const [count, them] =
      configProblems.length === 1
        ? ["1 problem", "it"]
        : [`${configProblems.length} problems`, "them"];
    warnings.push({
      link: "",
      text: `the configuration file has ${count} (mnmctl check ${problem.file} shows ${them}); the one before it stays in force`,
    });
  }
  const metrics = [...registry.managed.values()].flatMap(({ metric }) => metric?.value ?? []);
  const lowest = Math.min(...metrics);
  for (const route of kernel.routes.values()) {
    const isForeignDefault =
      route.table === MAIN_TABLE &&
      route.destination.length === 0 &&
      route.protocol !== MNM_PROTOCOL;
    if (!isForeignDefault || metrics.length === 0 || route.metric > lowest) continue;
    const link = route.ifindex === undefined ? undefined : kernel.links.get(route.ifindex);
    warnings.push({
      link: link?.name ?? "",
      text: `another program's default route (metric ${route.metric}) comes before ours and gets the unbound traffic`,
    });
  }
  return warnings;
}

function formatAddressOf(address: KernelAddress | undefined): string {
  return address === undefined ? "" : formatIpv4(address.address);
}
