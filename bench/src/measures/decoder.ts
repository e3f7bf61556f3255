import { instantFromMs } from "@mnm/proto/net";
import { type DhcpState, STOPPED, step } from "../../../controller/dist/dhcp4/index.js";
import { corpusFiles, withoutCorpora } from "../../../controller/dist/testing/dhcp4-corpora.js";
import { CONFIG, replyOf, SERVER, u32 } from "../../../controller/dist/testing/dhcp4-server.js";
import type { Context } from "./context.js";

const XID = 0x3903f326;
const CONTEXT = { now: instantFromMs(1_000_000), randomUint32: () => XID, config: CONFIG };

/** Messages per second through the machine that decodes and judges them, and the slowest one. */
export function decoder({ figures, peers, quick }: Context): void {
  if (!peers.some(({ name }) => name === "mnm")) return;
  const waiting = step(STOPPED, { kind: "start", remembered: undefined }, CONTEXT).state;
  const own = [replyOf({ type: "offer", xid: XID }), replyOf({ type: "ack", xid: XID })];
  if (withoutCorpora !== false) console.error(withoutCorpora);
  const corpora = withoutCorpora === false ? corpusFiles() : [];
  const messages = [...own, ...corpora.map(({ bytes }) => aimed(bytes))];
  const key = { links: 1, peer: "mnm" } as const;
  const decode = (payload: Uint8Array, state: DhcpState) =>
    step(state, { kind: "packet", payload, source: SERVER }, CONTEXT);
  let slowestMs = 0;
  let count = 0;
  const startedAt = performance.now();
  const end = startedAt + (quick ? 1000 : 5000);
  let now = startedAt;
  while (now < end) {
    for (const payload of messages) {
      decode(payload, waiting);
      const before = now;
      now = performance.now();
      slowestMs = Math.max(slowestMs, now - before);
    }
    count += messages.length;
  }
  const rate = count / ((now - startedAt) / 1000);
  figures.add({ ...key, measure: "DHCP messages decoded", unit: "/s" }, rate);
  figures.add({ ...key, measure: "DHCP: slowest message", unit: "ms" }, slowestMs);
}

/** The bytes with our xid and chaddr, so that they get past the first checks. */
function aimed(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 44) return bytes;
  const copy = bytes.slice();
  copy.set([2, 1, 6, 0], 0);
  copy.set(u32(XID), 4);
  copy.set([2, 0, 0, 0, 0, 1], 28);
  return copy;
}
