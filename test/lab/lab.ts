import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type LabMode, MAX_UPLINKS, SERVER, uplinkNumbers } from "./addressing.js";
import {
  createEstate,
  type Estate,
  keepEstate,
  namespaceName,
  removeAbandoned,
  removeEstate,
} from "./estate.js";
import { type DhcpServer, DNSMASQ_SHORTEST_LEASE_SEC, Isp, QUIET_IPV6 } from "./isp.js";
import { Launcher, type StartOptions } from "./launcher.js";
import { Namespace } from "./namespace.js";
import type { Bind, PingStream, TcpProbe, Whoami } from "./probe.js";
import type { Program } from "./program.js";
import { forEachLimited, must, type Output, run, until } from "./run.js";

export interface LabOptions {
  readonly uplinks: number;
  readonly mode?: LabMode;
  /** "auto" takes dnsmasq where it is installed and fits the lease, else the lab's own server. */
  readonly dhcp?: "auto" | DhcpServer;
  /** dnsmasq knows no lease below 120 s. */
  readonly leaseSec?: number;
  /** The uplinks are called this and their index. */
  readonly namePrefix?: string;
  /** rp_filter of the host; 2 as Debian ships it, and not what this machine happens to have. */
  readonly hostRpFilter?: 0 | 1 | 2;
  /** Whether the host's links start admin up. */
  readonly linksUp?: boolean;
}

/** The network behind a relay, the same for each: only its ISP knows it. */
export const FAR_NET = "172.31.0";

type Settled = Required<Omit<LabOptions, "dhcp">> & { readonly dhcp: DhcpServer };

/**
 * A throw-away internet in network namespaces: a host with uplinks, an ISP behind each, and
 * 203.0.113.1 behind them all, which tells which ISP it saw. {@link close} removes it, and so does
 * the end of this process.
 */
export class Lab implements AsyncDisposable {
  readonly host: Namespace;
  readonly inet: Namespace;
  readonly isps: readonly Isp[];
  readonly dhcp: DhcpServer;
  /** Sockets, state, configuration; `logs` in it. Short, or socket paths would not fit. */
  readonly directory: string;
  readonly launcher: Launcher;
  readonly #estate: Estate;
  readonly #settled: Settled;
  readonly #programs: Program[] = [];

  private constructor(estate: Estate, settled: Settled) {
    this.#estate = estate;
    this.#settled = settled;
    this.dhcp = settled.dhcp;
    this.directory = estate.directory;
    mkdirSync(`${estate.directory}/logs`);
    this.host = this.#namespace("host");
    this.inet = this.#namespace("inet");
    this.isps = Array.from(
      { length: settled.uplinks },
      (_, index) =>
        new Isp({
          numbers: uplinkNumbers(index, settled.mode),
          namespace: this.#namespace(`isp${index}`),
          directory: estate.directory,
          dhcp: settled.dhcp,
          leaseSec: settled.leaseSec,
        }),
    );
    this.launcher = new Launcher({
      directory: estate.directory,
      host: this.host,
      namePrefix: settled.namePrefix,
    });
  }

  /** Builds a lab, after removing those whose owner died without doing so. */
  static async create(options: LabOptions): Promise<Lab> {
    const settled = await settle(options);
    removeAbandoned();
    const estate = createEstate();
    try {
      const lab = new Lab(estate, settled);
      await lab.#build();
      return lab;
    } catch (error) {
      removeEstate(estate);
      throw error;
    }
  }

  async #build(): Promise<void> {
    const { hostRpFilter, linksUp } = this.#settled;
    const all = [this.host, this.inet, ...this.isps.map(({ namespace }) => namespace)];
    const input = all.map(({ name }) => `netns add ${name}\n`).join("");
    await must("ip", ["-b", "-"], { input });
    // Before any link exists: links take their settings from conf/default when they are made.
    await Promise.all([
      this.host.shell(
        [
          `echo ${hostRpFilter} >/proc/sys/net/ipv4/conf/all/rp_filter`,
          `echo ${hostRpFilter} >/proc/sys/net/ipv4/conf/default/rp_filter`,
          "echo 0 >/proc/sys/net/ipv4/ip_forward",
          // Lets the probe, of group 0, send pings through icmp(7) sockets.
          "echo 0 0 >/proc/sys/net/ipv4/ping_group_range",
          "ip link set lo up",
        ].join("\n"),
      ),
      this.inet.shell(
        [
          "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter",
          "echo 0 >/proc/sys/net/ipv4/conf/default/rp_filter",
          ...QUIET_IPV6,
          "ip link set lo up",
          `ip addr add ${SERVER}/32 dev lo`,
        ].join("\n"),
      ),
    ]);
    await this.host.ipBatch(this.isps.map((isp) => this.#linkCommand(isp)));
    await this.inet.ipBatch(
      this.isps.flatMap(({ index, numbers, namespace }) => [
        `link add isp${index} type veth peer name upl netns ${namespace.name}`,
        `addr add ${numbers.inside}/31 dev isp${index}`,
        `link set isp${index} up`,
      ]),
    );
    await Promise.all([this.#startServer(), forEachLimited(this.isps, 8, (isp) => isp.start())]);
    // Last, so that a client that is quick finds a DHCP server that listens.
    if (linksUp) await this.host.ipBatch(this.isps.map(({ index }) => this.#upCommand(index)));
  }

  /** The name that the lab gave to an uplink. */
  linkName(index: number): string {
    return `${this.#settled.namePrefix}${index}`;
  }

  async startHelper(options: StartOptions = {}): Promise<Program> {
    return this.#keepTrack(await this.launcher.startHelper(options));
  }

  async startController(options: StartOptions = {}): Promise<Program> {
    return this.#keepTrack(await this.launcher.startController(options));
  }

  mnmctl(...args: readonly string[]): Promise<Output> {
    return this.launcher.mnmctl(args);
  }

  /** Which ISP 203.0.113.1 saw, asked over UDP by a socket of the host with this binding. */
  whoami(bind: Bind = {}, timeoutMs?: number): Promise<Whoami> {
    return this.host.probe().whoami(bind, timeoutMs);
  }

  /** A TCP connection from the host to 203.0.113.1. */
  connect(bind: Bind = {}, timeoutMs?: number): Promise<TcpProbe> {
    return this.host.probe().connect(bind, timeoutMs);
  }

  /** A stream of pings from the host to 203.0.113.1, which is known to work when this returns. */
  startPing(bind: Bind = {}, intervalMs?: number): Promise<PingStream> {
    return this.host.probe().ping(bind, intervalMs);
  }

  /** Takes the uplink's carrier away: the ISP's end goes down. */
  async unplug(index: number): Promise<void> {
    await this.#isp(index).namespace.ip("link", "set", "lan", "down");
  }

  async plug(index: number): Promise<void> {
    const isp = this.#isp(index);
    await isp.namespace.ipBatch(isp.lanUpCommands());
  }

  /** Removes the link itself, as pulling a USB modem does. */
  async removeLink(index: number): Promise<void> {
    await this.host.ip("link", "del", this.linkName(index));
  }

  /** Adds the link again: same name and MAC, another ifindex. */
  async addLink(index: number): Promise<void> {
    const isp = this.#isp(index);
    await this.host.ipBatch([this.#linkCommand(isp)]);
    await isp.namespace.ipBatch(isp.lanCommands());
    await this.host.ipBatch([this.#upCommand(index)]);
  }

  /**
   * From now on the ISP gives out another address, its second one unless told, and answers the
   * renewal of the old one with a NAK. Gives the new address.
   */
  async moveAddress(index: number, address?: string): Promise<string> {
    const isp = this.#isp(index);
    const next = address ?? isp.numbers.secondAddress;
    await isp.moveTo(next);
    return next;
  }

  /**
   * A bridge docker0 in the host, 172.17.0.1/16, with a container 172.17.0.2 on it, forwarding on
   * and what leaves by other links masqueraded, all as Docker does. Gives the container.
   */
  async addContainerBridge(): Promise<Namespace> {
    const container = this.#namespace("ctr");
    await must("ip", ["netns", "add", container.name]);
    await this.host.ipBatch([
      "link add docker0 type bridge",
      "addr add 172.17.0.1/16 brd 172.17.255.255 dev docker0",
      "link set docker0 up",
      `link add vethctr master docker0 type veth peer name eth0 netns ${container.name}`,
      "link set vethctr up",
    ]);
    await container.ipBatch([
      "link set lo up",
      "addr add 172.17.0.2/16 dev eth0",
      "link set eth0 up",
      "route add default via 172.17.0.1",
    ]);
    const rule = 'ip saddr 172.17.0.0/16 oifname != "docker0" masquerade';
    await this.host.shell(
      `echo 1 >/proc/sys/net/ipv4/ip_forward
      nft 'table ip docker { chain post { type nat hook postrouting priority srcnat; ${rule}; }; }'`,
    );
    // A port that has just joined forwards only when the bridge has seen its carrier.
    await until(
      async () => (await this.host.exec("ping", "-n", "-c1", "-W1", "172.17.0.2")).code === 0,
      { timeoutMs: 5000, what: "the container behind the bridge" },
    );
    return container;
  }

  /**
   * A place for a server that is not the ISP itself, with the link `lan`. Beyond a relay it is on a
   * network of its own, FAR_NET.2/24, reached through the ISP's link `far`; as a neighbour it is on
   * the uplink's own segment.
   */
  async addServerPlace(index: number, where: "beyond-relay" | "neighbour"): Promise<Namespace> {
    const { namespace: isp } = this.#isp(index);
    const place = this.#namespace(`srv${index}`);
    await must("ip", ["netns", "add", place.name]);
    await place.shell(
      [
        "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter",
        "echo 0 >/proc/sys/net/ipv4/conf/default/rp_filter",
        ...QUIET_IPV6,
        "ip link set lo up",
      ].join("\n"),
    );
    if (where === "neighbour") {
      await isp.ip("link", "add", "beside", "link", "lan", "type", "macvlan", "mode", "bridge");
      await isp.ip("link", "set", "beside", "netns", place.name, "name", "lan");
      await place.ip("link", "set", "lan", "up");
      return place;
    }
    await isp.ipBatch([
      `link add far type veth peer name lan netns ${place.name}`,
      `addr add ${FAR_NET}.1/24 dev far`,
      "link set far up",
    ]);
    await place.ipBatch([
      `addr add ${FAR_NET}.2/24 dev lan`,
      "link set lan up",
      `route add default via ${FAR_NET}.1`,
    ]);
    return place;
  }

  /** Lets the lab and its programs outlive this process; `make demo-down` removes it. */
  keep(): void {
    keepEstate(this.#estate);
  }

  /** Stops the programs in order, controller before helper, and removes everything. */
  async close(): Promise<void> {
    for (const program of this.#programs.toReversed()) await program.stop();
    await Promise.all([this.host.close(), this.inet.close()]);
    removeEstate(this.#estate);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #startServer(): Promise<void> {
    const script = fileURLToPath(new URL("./whoami-server.js", import.meta.url));
    await this.inet.start("whoami", [process.execPath, script]).waitForLog(/^ready$/m);
  }

  #keepTrack(program: Program): Program {
    this.#programs.push(program);
    return program;
  }

  #isp(index: number): Isp {
    const isp = this.isps[index];
    if (isp === undefined)
      throw new RangeError(`No uplink ${index} in a lab of ${this.isps.length}`);
    return isp;
  }

  #namespace(part: string): Namespace {
    const logs = `${this.directory}/logs`;
    return new Namespace({ name: namespaceName(this.#estate, part), logs });
  }

  #linkCommand({ index, numbers, namespace }: Isp): string {
    const peer = `peer name lan netns ${namespace.name}`;
    return `link add ${this.linkName(index)} address ${numbers.mac} type veth ${peer}`;
  }

  #upCommand(index: number): string {
    return `link set ${this.linkName(index)} up`;
  }
}

async function settle(options: LabOptions): Promise<Settled> {
  if (process.getuid?.() !== 0) {
    throw new Error("A lab needs root, at least in a user namespace: test/lab/unshare.sh COMMAND");
  }
  const { uplinks, mode = "distinct", namePrefix = "wan", hostRpFilter = 2 } = options;
  const { linksUp = true, leaseSec = 3600 } = options;
  if (uplinks > MAX_UPLINKS[mode]) {
    throw new RangeError(`Mode ${mode} has room for ${MAX_UPLINKS[mode]} uplinks, not ${uplinks}`);
  }
  const dhcp = await settleDhcp(options.dhcp ?? "auto", leaseSec);
  return { uplinks, mode, namePrefix, hostRpFilter, linksUp, leaseSec, dhcp };
}

async function settleDhcp(asked: "auto" | DhcpServer, leaseSec: number): Promise<DhcpServer> {
  const tooShort = leaseSec < DNSMASQ_SHORTEST_LEASE_SEC;
  if (asked === "dnsmasq" && tooShort) {
    throw new RangeError(`dnsmasq's shortest lease is ${DNSMASQ_SHORTEST_LEASE_SEC} s`);
  }
  if (asked !== "auto") return asked;
  if (tooShort) return "builtin";
  const found = await run("sh", ["-c", "command -v dnsmasq"]);
  return found.code === 0 ? "dnsmasq" : "builtin";
}
