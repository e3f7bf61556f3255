import { readFileSync, statSync } from "node:fs";
import type { Namespace } from "./namespace.js";
import type { Program } from "./program.js";
import { until } from "./run.js";
import {
  type CapturedPacket,
  type DhcpPacket,
  packetText,
  readTcpdump,
  type UnreachablePacket,
} from "./tcpdump-text.js";

/** How long a packet may take beyond what is waited for anyway: these machines are noisy. */
const PATIENCE_MS = 20_000;

/**
 * Why nothing can be captured here; false when it can. tcpdump insists on choosing its user and
 * groups, which a user namespace with a single user does not allow.
 */
export function captureObstacle(): string | false {
  const denied = readFileSync("/proc/self/setgroups", "utf8").trim() === "deny";
  return denied ? "tcpdump does not run in a user namespace without subordinate ids" : false;
}

/** What passes a link of a namespace of DHCP and of ICMP, as tcpdump saw and decoded it. */
export class Capture {
  readonly #program: Program;
  readonly #seen: CapturedPacket[] = [];
  #readSize = 0;

  private constructor(program: Program) {
    this.#program = program;
  }

  /** Captures from now on: nothing is missed that comes after this returns. */
  static async start(namespace: Namespace, device: string): Promise<Capture> {
    // Immediate mode and line buffering: packets are in the log as they pass. As root, because
    // its own user may not write there, nor exist in a user namespace.
    const options = ["-Z", "root", "--immediate-mode", "-l", "-n", "-e", "-vvv", "-tt"];
    const filter = "udp port 67 or udp port 68 or icmp[icmptype] == icmp-unreach";
    const command = ["tcpdump", ...options, "-i", device, filter];
    const program = namespace.start(`${namespace.name}-tcpdump`, command);
    await program.waitForLog(/^tcpdump: listening on /m);
    return new Capture(program);
  }

  /** All DHCP messages so far, in order. */
  get packets(): readonly DhcpPacket[] {
    return this.#all().filter((packet) => packet.type === "dhcp");
  }

  get unreachables(): readonly UnreachablePacket[] {
    return this.#all().filter((packet) => packet.type === "unreachable");
  }

  /** The place after all packets so far, for {@link since} and {@link next}. */
  get mark(): number {
    return this.packets.length;
  }

  /**
   * The messages since a mark, one line each. One that is sent again in the same exchange is not
   * told twice: on a busy machine an answer may take longer than a client waits, and a relay that
   * listens to raw packets repeats a unicast request that was also routed.
   */
  since(mark: number): readonly string[] {
    const seen = new Set<string>();
    return this.packets.slice(mark).flatMap((packet) => {
      const identity = `${packet.kind} ${packet.xid}`;
      if (seen.has(identity)) return [];
      seen.add(identity);
      return [packetText(packet)];
    });
  }

  /** Waits for the first packet after the mark that fits. */
  async next(
    mark: number,
    fits: (packet: DhcpPacket) => boolean,
    { what, withinMs = 0 }: { readonly what: string; readonly withinMs?: number },
  ): Promise<DhcpPacket> {
    const timeoutMs = withinMs + PATIENCE_MS;
    try {
      return await until(() => this.packets.slice(mark).find(fits), { timeoutMs, what });
    } catch (cause) {
      throw new Error(`No ${what}; seen since then:\n${this.timeline(mark)}`, { cause });
    }
  }

  /** The messages since a mark with their times in seconds, for people who look at a failure. */
  timeline(mark = 0): string {
    const [first] = this.packets;
    const lines = this.packets.slice(mark).map((packet) => {
      const sec = ((packet.at - (first?.at ?? 0)) / 1000).toFixed(3).padStart(8);
      return `${sec} ${packet.xid} ${packetText(packet)}`;
    });
    return lines.join("\n");
  }

  #all(): readonly CapturedPacket[] {
    const size = statSync(this.#program.logFile).size;
    // Asked every few milliseconds by whoever waits.
    if (size !== this.#readSize) {
      this.#readSize = size;
      this.#seen.push(...readTcpdump(this.#program.log()).slice(this.#seen.length));
    }
    return this.#seen;
  }
}
