/** Replies to play to a running daemon, and what must come of each. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { RawAnswer } from "../lab/raw-server.js";

/**
 * A reply, and what the client has done when it comes: `SELECTING`, it has asked for offers;
 * `REQUESTING`, for 192.0.2.50 of 192.0.2.1; `BOUND`, it has the lease.
 */
export interface WireCase {
  readonly name: string;
  readonly state: "SELECTING" | "REQUESTING" | "BOUND";
  readonly answer: RawAnswer;
  readonly verdict: Verdict;
  readonly why: string;
  readonly expect: Expectation;
}

/** `never`: it must not even reach the DHCP client. */
export type Verdict = "accept" | "drop" | "decline" | "restart" | "never";

/** Of the lease, where the reply is accepted. What is absent may be anything. */
export interface Expectation {
  readonly or_verdict?: string;
  readonly yiaddr?: string;
  readonly yiaddr_any_of?: readonly string[];
  readonly prefixlen?: number;
  readonly prefixlen_any_of?: readonly number[];
  readonly router?: readonly string[];
  readonly router_max?: number;
  readonly routes?: readonly (readonly [destination: string, gateway: string])[];
  /** Routes of the link's table, where not all of the lease's can be there. */
  readonly kernel?: readonly (readonly [destination: string, gateway: string])[];
  readonly lease?: number | "infinite";
  readonly t1?: number;
  readonly t2?: number;
  readonly hostname?: string | null;
  readonly hostname_any_of?: readonly (string | null)[];
  readonly domain?: string | null;
  readonly search?: readonly string[];
  readonly mtu?: number | null;
}

/** The client that the replies were recorded for. */
export const RECORDED = { xid: 0x3903f326, mac: "02:00:00:00:00:01" } as const;
export const SERVER_MAC = "02:00:00:00:00:02";
export const SERVER = "192.0.2.1";
export const REQUESTED = "192.0.2.50";

const FOLDER = new URL("../../../../shared/corpora/adversarial/", import.meta.url);

/** For `test(name, { skip })`: why the corpus cannot be had, or false. */
export const withoutCorpus: string | false = existsSync(FOLDER)
  ? false
  : `NOT RUN: there is no corpus at ${fileURLToPath(FOLDER)}`;

interface Recording {
  readonly file: string;
  readonly layer: RawAnswer["layer"];
  readonly state: WireCase["state"];
  readonly verdict: Verdict;
  readonly why: string;
  readonly expect: Expectation;
}

/** The replies beside the repository. */
export function corpusCases(): readonly WireCase[] {
  const text = readFileSync(new URL("verdicts.json", FOLDER), "utf8");
  const { cases }: { readonly cases: readonly Recording[] } = JSON.parse(text);
  return cases.map(({ file, layer, state, verdict, why, expect }) => {
    const hex = readFileSync(new URL(file, FOLDER)).toString("hex");
    return { name: file, state, answer: { layer, hex }, verdict, why, expect };
  });
}

const OFFER = 2;
const ACK = 5;

/** A usual offer of {@link REQUESTED}, or of another address. */
export function goodOffer(address = REQUESTED): RawAnswer {
  return payload(message(OFFER, address, { 51: u32(3600) }));
}

/** A usual ACK, told from any other by its lease time. */
export function goodAck(leaseSec: number, address = REQUESTED): RawAnswer {
  return payload(message(ACK, address, { 51: u32(leaseSec) }));
}

export function payload(bytes: Uint8Array): RawAnswer {
  return { layer: "payload", hex: Buffer.from(bytes).toString("hex") };
}

/** Options by code; undefined leaves a usual one out. */
export type Options = Readonly<Record<number, readonly number[] | undefined>>;

/** A reply in which `options` take the place of usual ones: mask, router, an hour, server. */
export function message(type: number, address: string, options: Options = {}): Buffer {
  const header = Buffer.alloc(240);
  header.set([2, 1, 6, 0]);
  header.writeUInt32BE(RECORDED.xid, 4);
  header.set(ipv4(address), 16);
  header.set(Buffer.from(RECORDED.mac.replaceAll(":", ""), "hex"), 28);
  header.writeUInt32BE(0x63825363, 236);
  const usual: Options = {
    1: [255, 255, 255, 0],
    3: ipv4(SERVER),
    51: u32(3600),
    53: [type],
    54: ipv4(SERVER),
  };
  const area = Object.entries({ ...usual, ...options }).flatMap(([code, value]) =>
    value === undefined ? [] : [Number(code), value.length, ...value],
  );
  return Buffer.concat([header, Buffer.from([...area, 255])]);
}

export function ipv4(text: string): readonly number[] {
  return text.split(".").map(Number);
}

export function u32(value: number): readonly number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}
