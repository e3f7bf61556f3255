/** Plays replies to a running daemon, one link for each, all at once, and tells what came of them. */

import { writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Link, LinkState, type NetworkManagerClient } from "@mnm/proto/network-manager";
import { Lab, until } from "../lab/index.js";
import type { Program } from "../lab/program.js";
import type { Heard, RawLink, RawScript } from "../lab/raw-server.js";
import { clientOf, statusOf } from "./scenario.js";
import {
  goodAck,
  goodOffer,
  RECORDED,
  SERVER,
  SERVER_MAC,
  type Verdict,
  type WireCase,
} from "./wire-cases.js";

/** Lease times that no reply under test has: by them the good replies are known. */
export const GOOD_LEASE_SEC = 7777;
export const RENEWED_LEASE_SEC = 8888;

const OTHER = "192.0.2.60";

/** What `mnmctl link --json` says of a link, as far as it is looked at. */
export interface LinkReport {
  readonly name: string;
  readonly state: string;
  readonly table: number;
  readonly lease: LeaseReport | null;
  readonly dhcp: { readonly state: string; readonly counters: Readonly<Record<string, number>> };
}

export interface LeaseReport {
  readonly address: string;
  readonly server: string;
  readonly gateways: readonly string[];
  readonly dns_servers: readonly string[];
  readonly ntp_servers: readonly string[];
  readonly domain: string | null;
  readonly search_domains: readonly string[];
  readonly host_name: string | null;
  readonly captive_portal: string | null;
  readonly mtu: number | null;
  readonly routes: readonly string[];
  readonly lease_sec: number;
  readonly t1_in_sec: number | null;
  readonly t2_in_sec: number | null;
}

/** A route as `ip -j route` has it. */
export interface KernelRouteText {
  readonly dst: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly table?: string;
  readonly metrics?: readonly { readonly mtu?: number }[];
}

/** What was observed of a link from outside. */
export interface Played {
  readonly outcome: Verdict;
  /** What the daemon sent, retransmissions left out. */
  readonly messages: readonly Heard[];
  readonly packets: number;
  /** When the reply under test had been answered. */
  readonly early: LinkReport;
  /** At the end, when a good reply had been accepted everywhere. */
  readonly late: LinkReport;
  /** Every address that the link has ever had, and when it first had it. */
  readonly addresses: ReadonlyMap<string, number>;
  /** The link's own table when `early` was read. */
  readonly routes: readonly KernelRouteText[];
}

/** A lab whose ISPs are one {@link RawServer}, with both programs running. */
export class WirePlay implements AsyncDisposable {
  readonly lab: Lab;
  readonly #cases: readonly WireCase[];
  readonly #client: NetworkManagerClient;
  #server: Program | undefined;
  #monitor: Program | undefined;
  controller: Program | undefined;

  private constructor(lab: Lab, cases: readonly WireCase[]) {
    this.lab = lab;
    this.#cases = cases;
    this.#client = clientOf(lab);
  }

  /** Starts everything, and plays each reply to a link of its own. */
  static async start(cases: readonly WireCase[]): Promise<WirePlay> {
    const play = new WirePlay(await Lab.create({ uplinks: 0 }), cases);
    try {
      await play.#build();
      return play;
    } catch (error) {
      await play[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #build(): Promise<void> {
    const { lab } = this;
    const names = this.#cases.map((_, index) => index);
    await lab.host.ipBatch(
      names.map((index) => {
        const mac = `02:00:00:00:01:${index.toString(16).padStart(2, "0")}`;
        const peer = `peer name srv${index} netns ${lab.inet.name}`;
        return `link add ${linkName(index)} address ${mac} type veth ${peer}`;
      }),
    );
    await lab.inet.ipBatch(names.map((index) => `link set srv${index} up`));
    await this.#startServer();
    this.#monitor = lab.host.start("monitor", ["ip", "-o", "-ts", "monitor", "address"]);
    await lab.startHelper();
    const config = 'links:\n  "adv*": {}\n';
    this.controller = await lab.startController({ config, args: ["--log-level", "debug"] });
    await lab.host.ipBatch(names.map((index) => `link set ${linkName(index)} up`));
  }

  async #startServer(): Promise<void> {
    const { lab } = this;
    const far: { ifname: string; ifindex: number }[] = JSON.parse(
      await lab.inet.ip("-j", "link", "show"),
    );
    const ifindexes = new Map(far.map(({ ifname, ifindex }) => [ifname, ifindex]));
    const links = this.#cases.map((one, index): RawLink => {
      const ifindex = ifindexes.get(`srv${index}`) ?? 0;
      return { name: linkName(index), ifindex, ...answersOf(one) };
    });
    const script: RawScript = { recorded: RECORDED, serverMac: SERVER_MAC, server: SERVER, links };
    const file = `${lab.directory}/raw-server.json`;
    writeFileSync(file, JSON.stringify(script));
    const program = fileURLToPath(new URL("../lab/raw-server.js", import.meta.url));
    this.#server = lab.inet.start("raw-server", [process.execPath, program, file]);
    await this.#server.waitForLog(/^ready$/m);
  }

  /** Waits until every link has got its lease in the end, and gives what was seen of each. */
  async observe(): Promise<ReadonlyMap<WireCase, Played>> {
    const isEarly = ({ verdict }: WireCase) => verdict !== "decline";
    const isUsable = ({ state }: Link) => state === LinkState.USABLE;
    await this.#until(new Map(this.#cases.filter(isEarly).map((one) => [one, isUsable])));
    const early = await this.#reports();
    const routes = await this.#routes();
    // Whoever is bound is asked to renew, which shows that it still hears a good reply.
    const bound = this.#cases.flatMap(({ state }, index) => (state === "BOUND" ? [index] : []));
    for (const index of bound) await this.lab.mnmctl("renew", linkName(index));
    const isRenewed = ({ lease }: Link) => lease?.leaseSec === RENEWED_LEASE_SEC;
    const isWanted = ({ state }: WireCase) => (state === "BOUND" ? isRenewed : isUsable);
    await this.#until(new Map(this.#cases.map((one) => [one, isWanted(one)])));
    const late = await this.#reports();
    return new Map(
      this.#cases.flatMap((one, index) => {
        const [before, after] = [early.get(linkName(index)), late.get(linkName(index))];
        if (before === undefined || after === undefined) return [];
        const own = routes.filter(({ table }) => Number(table) === before.table);
        return [[one, this.#played(index, { early: before, late: after, routes: own })]];
      }),
    );
  }

  #played(index: number, seen: Pick<Played, "early" | "late" | "routes">): Played {
    const heard = this.heard(linkName(index));
    const messages = heard.filter(
      ({ message, xid }, at) =>
        !heard.slice(0, at).some((other) => other.message === message && other.xid === xid),
    );
    const one = this.#cases[index];
    const outcome = one === undefined ? "never" : outcomeOf(one, messages, seen.late);
    const addresses = this.#addressesOf(linkName(index));
    return { outcome, messages, packets: heard.length, addresses, ...seen };
  }

  heard(link: string): readonly Heard[] {
    const lines = this.#server?.log().split("\n") ?? [];
    return lines
      .filter((line) => line.startsWith("{"))
      .map((line): Heard => JSON.parse(line))
      .filter((one) => one.link === link);
  }

  /** Waits until each of the links is as wanted; gives up after a time that no machine should need. */
  async #until(wanted: ReadonlyMap<WireCase, (link: Link) => boolean>): Promise<void> {
    const waiting = new Map(
      [...wanted].map(([one, isWanted]) => [linkName(this.#cases.indexOf(one)), isWanted]),
    );
    const isDone = async () => {
      const { links } = await statusOf(this.#client);
      for (const link of links) if (waiting.get(link.name)?.(link)) waiting.delete(link.name);
      if (waiting.size > 0) await delay(100);
      return waiting.size === 0;
    };
    try {
      await until(isDone, { timeoutMs: 60_000, what: "leases" });
    } catch (cause) {
      const missing = this.#cases.filter((_, index) => waiting.has(linkName(index)));
      const names = missing.map(({ name }) => name).join(", ");
      throw new Error(`Without a good lease in the end: ${names}`, { cause });
    }
  }

  /** What `mnmctl` says of every link, by its name. */
  async #reports(): Promise<ReadonlyMap<string, LinkReport>> {
    const { stdout } = await this.lab.mnmctl("link", "--json");
    const { links }: { readonly links: readonly LinkReport[] } = JSON.parse(stdout);
    return new Map(links.map((link) => [link.name, link]));
  }

  async #routes(): Promise<readonly KernelRouteText[]> {
    return JSON.parse(await this.lab.host.ip("-j", "route", "show", "table", "all"));
  }

  #addressesOf(link: string): ReadonlyMap<string, number> {
    const pattern = new RegExp(`^\\[(\\S+)\\] *\\d+: ${link} +inet (\\S+)`);
    const lines = this.#monitor?.log().split("\n") ?? [];
    const seen = lines.flatMap((line) => {
      const [, at, address] = pattern.exec(line) ?? [];
      return at === undefined || address === undefined ? [] : [[address, Date.parse(at)] as const];
    });
    return new Map(seen.toReversed());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
    await this.#monitor?.stop();
    await this.#server?.stop();
    await this.lab.close();
  }
}

function linkName(index: number): string {
  return `adv${index}`;
}

/** The reply under test comes first, a good one always right after it. */
function answersOf({ state, answer, verdict }: WireCase): Pick<RawLink, "discover" | "request"> {
  const good = goodAck(GOOD_LEASE_SEC);
  switch (state) {
    case "SELECTING": {
      // Of another address, so that the request tells which of the two was taken.
      const ack = verdict === "accept" ? good : goodAck(GOOD_LEASE_SEC, OTHER);
      return { discover: [[answer, goodOffer(OTHER)]], request: [[ack]] };
    }
    case "REQUESTING":
      return { discover: [[goodOffer()]], request: [[answer, good], [good]] };
    case "BOUND": {
      const renewed = goodAck(RENEWED_LEASE_SEC);
      return { discover: [[goodOffer()]], request: [[good, answer], [renewed]] };
    }
  }
}

function outcomeOf(one: WireCase, messages: readonly Heard[], report: LinkReport): Verdict {
  const count = (kind: string) => messages.filter(({ message }) => message === kind).length;
  if (count("decline") > 0) return "decline";
  if (count("discover") > 1) return "restart";
  if (one.state === "SELECTING") {
    const asked = messages.find(({ message }) => message === "request")?.requested ?? 0;
    if (asked === 0xc0000232) return "accept";
  } else if (![GOOD_LEASE_SEC, RENEWED_LEASE_SEC].includes(report.lease?.lease_sec ?? 0)) {
    return "accept";
  }
  return refusals(report) > 0 ? "drop" : "never";
}

/** What the helper says of packets that it has kept to itself. */
const BY_HELPER = ["refused-checksum", "refused-malformed", "refused-overload"];

/** How many messages the controller has refused on a link. */
export function refusals({ dhcp: { counters } }: LinkReport): number {
  const refused = Object.entries(counters).filter(
    ([name]) => name.startsWith("refused-") && !BY_HELPER.includes(name),
  );
  return refused.reduce((sum, [, count]) => sum + count, 0);
}
