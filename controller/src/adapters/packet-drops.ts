import type { ReceiveArpResponse, ReceiveDhcpResponse } from "@mnm/proto/helper";
import { type Ifindex, ifindexFromNumber } from "@mnm/proto/net";
import type { EngineEvent } from "../engine/index.js";

type Drops = EngineEvent & { kind: "packets-dropped" };

/** Finds in the helper's streams what it could not pass on. One for each connection. */
export class PacketDrops {
  /** What the last item said, by stream and link. */
  readonly #last = new Map<string, number>();

  ofDhcp({ ifindex, problem, dropped }: ReceiveDhcpResponse): readonly Drops[] {
    const drops = this.#news(ifindexFromNumber(ifindex), "refused-overload", dropped);
    if (problem === "") return drops;
    const counter = problem.endsWith("-checksum") ? "refused-checksum" : "refused-malformed";
    return [...drops, dropsOf(ifindexFromNumber(ifindex), counter, 1)];
  }

  ofArp({ ifindex, dropped }: ReceiveArpResponse): readonly Drops[] {
    return this.#news(ifindexFromNumber(ifindex), "arp-refused-overload", dropped);
  }

  #news(ifindex: Ifindex, counter: Drops["counter"], dropped: number): readonly Drops[] {
    const key = `${counter} ${ifindex}`;
    const last = this.#last.get(key) ?? 0;
    this.#last.set(key, dropped);
    // Less than before: the helper has opened the port anew, and counts from 0 again.
    const count = dropped < last ? dropped : dropped - last;
    return count === 0 ? [] : [dropsOf(ifindex, counter, count)];
  }
}

function dropsOf(ifindex: Ifindex, counter: Drops["counter"], count: number): Drops {
  return { kind: "packets-dropped", ifindex, counter, count };
}
