import { readFileSync } from "node:fs";
import { type Namespace, until } from "../lab/index.js";
import type { Program } from "../lab/program.js";
import { addressOf, entryOf } from "./race.js";

/** A link from its creation to its end, and the entries that it has followed, each until when. */
interface Generation {
  readonly ifindex: number;
  name: string;
  mac: string;
  readonly followed: Map<string, number>;
}

/** An object of ours that appeared on a link. */
interface Appearance {
  readonly what: string;
  readonly at: number;
  /** The source or interface address, which tells whose it is. */
  readonly address: string;
  readonly link: string;
  /** How long ago that link followed the entry of this address; undefined for never. */
  readonly lateMs: number | undefined;
}

export interface Verdict {
  /** Links that came. */
  readonly links: number;
  readonly writes: number;
  /** On a link that had just stopped to be the right one; the longest time since in milliseconds. */
  readonly late: number;
  readonly latestMs: number;
  /** On a link that never was the right one, or not any more for long. */
  readonly wrong: readonly string[];
}

/**
 * How long a helper that does not get the processor may take from its look at a link to its write,
 * in which the link may be renamed. The kernel has no way to say both at once, so that nobody can do
 * without; but it is rare, and far too short for another link to be given the ifindex.
 */
const LOOK_TO_WRITE_MS = 1_000;

/** `rtmon` writes these around the kernel's own messages. */
const NLMSG_TSTAMP = 15;
const RTM = { newLink: 16, deleteLink: 17, newAddress: 20, newRoute: 24 } as const;
const MNM_PROTOCOL = 77;

/**
 * Records with rtmon(8) what the kernel says of links, addresses and routes, which is in the order in
 * which it happened, and holds every object of ours against what its link was at that moment. (Not
 * with `ip monitor`, whose names of links are not those of the moment.)
 */
export class LinkWatch {
  readonly #program: Program;
  readonly #file: string;
  readonly #links = new Map<number, Generation>();
  readonly #appearances: Appearance[] = [];
  #count = 0;
  #at = 0;

  private constructor(program: Program, file: string) {
    this.#program = program;
    this.#file = file;
  }

  static async start(host: Namespace, file: string): Promise<LinkWatch> {
    const watch = new LinkWatch(host.start("rtmon", ["rtmon", "file", file]), file);
    await watch.#sees(host, "127.9.9.8");
    return watch;
  }

  /** Waits until the record has a change that is made now. */
  async #sees(host: Namespace, address: string): Promise<void> {
    const bytes = Buffer.from(address.split(".").map(Number));
    await until(
      async () => {
        await host.ip("addr", "add", `${address}/32`, "dev", "lo");
        await host.ip("addr", "del", `${address}/32`, "dev", "lo");
        return this.#program.running && readFileSync(this.#file).includes(bytes);
      },
      { timeoutMs: 20_000, what: "a record of rtmon" },
    );
  }

  /** Ends it, once everything is recorded, and judges. */
  async verdict(host: Namespace): Promise<Verdict> {
    await this.#sees(host, "127.9.9.9");
    await this.#program.stop();
    if (this.#program.log() !== "") throw new Error(`rtmon said ${this.#program.log()}`);
    const record = readFileSync(this.#file);
    for (let at = 0; at + 16 <= record.length; ) {
      const length = record.readUInt32LE(at);
      // What the kernel does by itself has no port; with a new name it announces addresses again.
      const isAsked = record.readUInt32LE(at + 12) !== 0;
      const type = record.readUInt16LE(at + 4);
      const isObject = type === RTM.newAddress || type === RTM.newRoute;
      if (isAsked || !isObject) this.#read(type, record.subarray(at + 16, at + length));
      at += (length + 3) & ~3;
    }
    const lateMs = this.#appearances.map((appearance) => appearance.lateMs ?? 0);
    const isWrong = ({ lateMs: ms }: Appearance) => ms === undefined || ms > LOOK_TO_WRITE_MS;
    return {
      links: this.#count,
      writes: this.#appearances.length,
      late: lateMs.filter((ms) => ms > 0).length,
      latestMs: Math.max(0, ...lateMs),
      wrong: this.#appearances
        .filter(isWrong)
        .map(({ what, at, link, lateMs: ms }) => `${at}: ${what} on ${link}, right ${ms} ms ago`),
    };
  }

  #read(type: number, payload: Buffer): void {
    switch (type) {
      case NLMSG_TSTAMP:
        this.#at = payload.readUInt32LE(0) * 1000 + payload.readUInt32LE(4) / 1000;
        break;
      case RTM.newLink:
      case RTM.deleteLink:
        // Without the family of bridges, which speaks of ports.
        if (payload.readUInt8(0) === 0) this.#readLink(payload, type === RTM.deleteLink);
        break;
      case RTM.newAddress: {
        const attributes = attributesOf(payload, 8);
        const address = attributes.get(2)?.join(".");
        const isOurs = attributes.get(11)?.readUInt8(0) === MNM_PROTOCOL;
        if (isOurs) this.#appear(`address ${address}`, payload.readUInt32LE(4), address);
        break;
      }
      case RTM.newRoute: {
        const attributes = attributesOf(payload, 12);
        const isOurs = payload.readUInt8(5) === MNM_PROTOCOL;
        const what = `route ${attributes.get(1)?.join(".") ?? "default"} table ${attributes.get(15)?.readUInt32LE(0)}`;
        const address = attributes.get(7)?.join(".");
        if (isOurs) this.#appear(what, attributes.get(4)?.readUInt32LE(0) ?? 0, address);
        break;
      }
    }
  }

  #readLink(payload: Buffer, isGone: boolean): void {
    const attributes = attributesOf(payload, 16);
    const ifindex = payload.readUInt32LE(4);
    const known = this.#links.get(ifindex);
    if (known !== undefined) follow(known, this.#at);
    if (isGone) {
      this.#links.delete(ifindex);
      return;
    }
    const name = attributes.get(3)?.toString("latin1").replace(/\0.*$/, "") ?? "";
    const mac =
      attributes
        .get(1)
        ?.toString("hex")
        .replace(/..(?=.)/g, "$&:") ?? "";
    if (known === undefined) this.#count += 1;
    const link = known ?? { ifindex, name, mac, followed: new Map() };
    Object.assign(link, { name, mac });
    follow(link, this.#at);
    this.#links.set(ifindex, link);
  }

  #appear(what: string, ifindex: number, address = "no source"): void {
    // Only the addresses of the race say whose they are.
    if (!address.startsWith("10.77.")) return;
    const link = this.#links.get(ifindex);
    if (link !== undefined) follow(link, this.#at);
    const since = [...(link?.followed ?? [])].find(([entry]) => addressOf(entry) === address)?.[1];
    this.#appearances.push({
      what,
      at: this.#at,
      address,
      link: link === undefined ? `${ifindex}` : `${ifindex} ${link.name} ${link.mac}`,
      lateMs: since === undefined ? undefined : this.#at - since,
    });
  }
}

/** It follows its entry until now. */
function follow({ name, mac, followed }: Generation, at: number): void {
  const entry = entryOf(name, mac);
  if (entry !== undefined) followed.set(entry, at);
}

/** Those of a rtnetlink message, behind its structure. */
function attributesOf(payload: Buffer, structure: number): ReadonlyMap<number, Buffer> {
  const attributes = new Map<number, Buffer>();
  for (let at = structure; at + 4 <= payload.length; ) {
    const length = Math.max(4, payload.readUInt16LE(at));
    attributes.set(payload.readUInt16LE(at + 2) & 0x3fff, payload.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return attributes;
}
