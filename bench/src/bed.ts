import { Lab, until } from "../../test/dist/lab/index.js";
import { Cgroup } from "./cgroup.js";
import { KernelTimeline } from "./kernel-timeline.js";
import { type Ground, type Peer, startedAt } from "./peer.js";
import type { Tools } from "./tools.js";

/** How long the kernel has to be quiet before what came last counts as the last. */
const QUIET_MS = 300;
const PATIENCE_MS = 60_000;

/** One program in a lab of its own, with the kernel's account of what it does. */
export class Bed {
  readonly peer: Peer;
  readonly lab: Lab;
  readonly cgroup: Cgroup;
  readonly kernel: KernelTimeline;
  readonly links: readonly string[];
  readonly #ground: Ground;
  #stamps: readonly string[] = [];

  private constructor(peer: Peer, ground: Ground, kernel: KernelTimeline) {
    this.peer = peer;
    this.#ground = ground;
    this.lab = ground.lab;
    this.cgroup = ground.cgroup;
    this.kernel = kernel;
    this.links = ground.lab.isps.map(({ index }) => ground.lab.linkName(index));
  }

  /** A lab without the program. */
  static async build(peer: Peer, uplinks: number, tools: Tools): Promise<Bed> {
    const lab = await Lab.create({ uplinks });
    try {
      await carriers(lab);
      const kernel = await KernelTimeline.open(tools.monitor, lab.host.name);
      return new Bed(peer, { lab, uplinks, tools, cgroup: new Cgroup() }, kernel);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** A lab in which all uplinks have become usable. */
  static async ready(peer: Peer, uplinks: number, tools: Tools): Promise<Bed> {
    const bed = await Bed.build(peer, uplinks, tools);
    try {
      await bed.start(true);
      await bed.allReady();
      return bed;
    } catch (error) {
      await bed.close();
      throw error;
    }
  }

  async start(fresh: boolean): Promise<void> {
    this.#stamps = await this.peer.start(this.#ground, fresh);
  }

  /** When its first program was executed. */
  startedAt(): number {
    return startedAt(this.#stamps);
  }

  /** Waits until each uplink has the address of its ISP and a default route, and all is quiet. */
  async allReady(): Promise<void> {
    const { kernel, lab, links } = this;
    const isReady = (link: string, index: number) =>
      kernel.isReady(link) && kernel.addressesOf(link).includes(lab.isps[index]?.address ?? "");
    const done = await kernel.until(PATIENCE_MS, () => links.every(isReady));
    if (done === undefined) {
      const late = links.filter((link, index) => !isReady(link, index));
      const some = late.slice(0, 8).join(", ");
      throw new Error(`${late.length} uplinks not usable after ${PATIENCE_MS} ms: ${some} …`);
    }
    await this.settled();
  }

  settled(): Promise<void> {
    return this.kernel.settled(QUIET_MS);
  }

  async close(): Promise<void> {
    try {
      await this.cgroup.remove();
      await this.kernel.close();
    } finally {
      await this.lab.close();
    }
  }
}

/** Waits until all links are up: the kernel announces carriers in bulk, up to a second late. */
async function carriers(lab: Lab): Promise<void> {
  const names = lab.isps.map(({ index }) => lab.linkName(index));
  const areUp = async () => {
    const text = await lab.host.ip("-j", "link");
    const links: readonly { ifname: string; operstate: string }[] = JSON.parse(text);
    const up = new Set(links.filter((link) => link.operstate === "UP").map((link) => link.ifname));
    return names.every((name) => up.has(name));
  };
  await until(areUp, { timeoutMs: 20_000, what: "the links' carriers" });
}

/** One bed for each peer that has room for so many links, all at once; closes them whatever happens. */
export async function withBeds(
  peers: readonly Peer[],
  { uplinks, tools }: { readonly uplinks: number; readonly tools: Tools },
  use: (beds: readonly Bed[]) => Promise<void>,
): Promise<void> {
  const beds: Bed[] = [];
  try {
    for (const peer of peers.filter(({ maxLinks }) => maxLinks >= uplinks)) {
      beds.push(await Bed.ready(peer, uplinks, tools));
    }
    await use(beds);
  } finally {
    for (const bed of beds) await bed.close();
  }
}
