import type { Namespace } from "./namespace.js";

export interface DhcpQuestion {
  readonly link: string;
  readonly mac: string;
  readonly kind: "discover" | "request";
  readonly requested?: string;
  /** Names the server whose offer is accepted; without it a request is one of INIT-REBOOT. */
  readonly server?: string;
}

export interface DhcpReply {
  readonly kind: "offer" | "ack" | "nak";
  readonly address?: string;
  readonly server?: string;
  readonly router?: string;
  readonly leaseSec?: number;
}

const REPLIES: Readonly<Record<number, DhcpReply["kind"]>> = { 2: "offer", 5: "ack", 6: "nak" };
const FIXED_LENGTH = 240;

/**
 * Sends one DHCP message from a link and gives the reply, configuring nothing. Through an
 * ordinary socket, so the host must not filter by reverse path: it has no route yet.
 */
export async function askLease(from: Namespace, question: DhcpQuestion): Promise<DhcpReply> {
  const reply = await from.probe().broadcast({
    device: question.link,
    localPort: 68,
    port: 67,
    payload: encode(question),
  });
  return decode(reply);
}

function encode({ mac, kind, requested, server }: DhcpQuestion): Buffer {
  const fixed = Buffer.alloc(FIXED_LENGTH);
  fixed.set([1, 1, 6], 0);
  fixed.writeUInt32BE(0x12345678, 4);
  // The broadcast flag: this host has no address that a reply could be sent to.
  fixed.writeUInt16BE(0x8000, 10);
  fixed.set(Buffer.from(mac.replaceAll(":", ""), "hex"), 28);
  fixed.writeUInt32BE(0x63825363, 236);
  const option = (code: number, address: string | undefined) =>
    address === undefined ? [] : [code, 4, ...address.split(".").map(Number)];
  const asked = [...option(50, requested), ...option(54, server)];
  const options = [53, 1, kind === "discover" ? 1 : 3, ...asked, 55, 3, 1, 3, 51, 255];
  return Buffer.concat([fixed, Buffer.from(options)], 300);
}

function decode(reply: Buffer): DhcpReply {
  const options = new Map<number, Buffer>();
  for (let at = FIXED_LENGTH; at < reply.length && reply[at] !== 255; ) {
    const length = reply[at + 1] ?? 0;
    options.set(reply[at] ?? 0, reply.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  const kind = REPLIES[options.get(53)?.[0] ?? 0];
  if (kind === undefined) throw new Error(`No DHCP reply: ${reply.toString("hex")}`);
  if (kind === "nak") return { kind };
  return {
    kind,
    address: reply.subarray(16, 20).join("."),
    server: options.get(54)?.join(".") ?? "",
    leaseSec: options.get(51)?.readUInt32BE(0) ?? 0,
    router: options.get(3)?.join(".") ?? "",
  };
}
