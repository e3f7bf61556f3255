import {
  Capture,
  FAR_NET,
  type Lab,
  type Namespace,
  type Program,
  RealServer,
  type ServerKind,
  type ServerTerms,
  startRelay,
  until,
} from "../lab/index.js";

export interface SitePlan {
  /** Of the lab's uplink. */
  readonly index: number;
  readonly kind: ServerKind;
  /** The server is in a network of its own, behind isc-dhcp-relay. */
  readonly behindRelay?: boolean;
  /** The first three octets of the uplink's own /24, where the server gives out another. */
  readonly linkNet?: string;
  readonly terms: Pick<ServerTerms, "leaseSec" | "t1Sec" | "t2Sec"> & Partial<ServerTerms>;
}

/** An uplink of the lab with a real DHCP server at its other end, and a capture between the two. */
export class ServerSite {
  readonly plan: SitePlan;
  readonly link: string;
  readonly mac: string;
  /** What passes the uplink's own segment. */
  readonly capture: Capture;
  readonly server: RealServer;
  readonly #lab: Lab;
  readonly #isp: Namespace;
  #net: string;
  #relay: Program | undefined;

  private constructor(
    lab: Lab,
    plan: SitePlan,
    made: { readonly isp: Namespace; readonly server: RealServer; readonly capture: Capture },
  ) {
    const { net, mac } = numbersOf(lab, plan.index);
    this.#lab = lab;
    this.#isp = made.isp;
    this.#net = net;
    this.plan = plan;
    this.link = lab.linkName(plan.index);
    this.mac = mac;
    this.capture = made.capture;
    this.server = made.server;
  }

  static async build(lab: Lab, plan: SitePlan): Promise<ServerSite> {
    const { index, kind, behindRelay = false } = plan;
    const isp = lab.isps[index]?.namespace;
    if (isp === undefined) throw new RangeError(`The lab has no ISP ${index}`);
    const capture = await Capture.start(isp, "lan");
    const namespace = behindRelay ? await lab.addServerPlace(index, "beyond-relay") : isp;
    const server = new RealServer({ kind, namespace, directory: lab.directory });
    const site = new ServerSite(lab, plan, { isp, server, capture });
    await site.start();
    return site;
  }

  /** The first three octets of what it gives out now. */
  get net(): string {
    return this.#net;
  }

  get gateway(): string {
    return `${this.#net}.1`;
  }

  /** What the server calls itself. */
  get serverId(): string {
    return this.plan.behindRelay ? `${FAR_NET}.2` : this.gateway;
  }

  async start(): Promise<void> {
    const { behindRelay = false, terms } = this.plan;
    const net = this.#net;
    const linkNet = behindRelay ? FAR_NET : (this.plan.linkNet ?? net);
    await this.server.start({ net, pool: [50, 60], gateway: this.gateway, ...terms }, linkNet);
    if (behindRelay) this.#relay ??= await startRelay(this.#isp, this.serverId);
  }

  /** Everything of this site moves to another prefix: the gateway, the relay, what is given out. */
  async moveTo(net: string): Promise<void> {
    await this.server.stop();
    await this.#relay?.stop("SIGKILL");
    this.#relay = undefined;
    this.#net = net;
    await this.#isp.ipBatch(["addr flush dev lan", `addr add ${this.gateway}/24 dev lan`]);
    await this.start();
  }

  /** As a router does that comes up again. */
  async flapCarrier(): Promise<void> {
    await this.#lab.unplug(this.plan.index);
    // The kernel tells of carrier at its leisure, and not at all of a loss that is over by then.
    const isLost = async () =>
      (await this.#lab.host.ip("link", "show", this.link)).includes("NO-CARRIER");
    await until(isLost, { timeoutMs: 5000, what: `no carrier on ${this.link}` });
    await this.#lab.plug(this.plan.index);
  }
}

function numbersOf(lab: Lab, index: number) {
  const numbers = lab.isps[index]?.numbers;
  if (numbers === undefined) throw new RangeError(`The lab has no ISP ${index}`);
  return numbers;
}
