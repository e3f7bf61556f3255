/**
 * Timelines of a DHCP client in virtual time, written as captures are read.
 *
 * | Line | Means |
 * |---|---|
 * | `> REQUEST unicast 192.0.2.1` | the client sends this |
 * | `< ACK lease=600` | a server's reply to the message sent last (`to=2`: to the second one sent) |
 * | `! lease-bound 192.0.2.50/24` | the client announces this |
 * | `* check` | what the engine tells the client, or what happens to the host |
 *
 * Of `>` and `!` only the words that are there are compared (the rest of them is in
 * {@link wordsOfMessage} and {@link wordsOfNews}). In front may stand when: `1800 s`, `4 s±1`,
 * `10..11 s`, since the host booted, or `+4 s`, since the line before. Where nothing stands, it is
 * the same moment. Nothing may happen that has no line.
 */
import {
  type DhcpConfig,
  type DhcpEffect,
  type DhcpEvent,
  deadline,
  decodeLeaseRecord,
  encodeLeaseRecord,
  type RememberedLease,
} from "../dhcp4/index.js";
import {
  addresses,
  CONFLICT,
  ipv4,
  type Received,
  type ReplyFields,
  receive,
  u32,
} from "./dhcp4-server.js";
import { DhcpSimulation, LUCK, type Luck } from "./dhcp4-simulation.js";
import { wordsOfMessage, wordsOfNews } from "./dhcp4-words.js";

export interface Timeline {
  readonly name: string;
  readonly capture: string;
  readonly config?: Partial<DhcpConfig>;
}

/** A capture as it was written, and as it went. */
export interface Playback {
  readonly want: string;
  readonly got: string;
}

/** From the start to a lease, with an ACK that has these words. */
export function bound(words = ""): string {
  return `
    0 s  * start
         > DISCOVER broadcast
         < OFFER
         > REQUEST broadcast
         < ACK ${words}
         ! lease-bound 192.0.2.50/24`;
}

/** Plays a capture with little, middling and much jitter; gives the first that went another way. */
export function play({ capture, config = {} }: Timeline): Playback {
  const lines = capture
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const want = lines.join("\n");
  for (const luck of Object.keys(LUCK) as Luck[]) {
    const got = new Player(config, luck).play(lines).join("\n");
    if (got !== want) return { want, got: `with ${luck} jitter:\n${got}` };
  }
  return { want, got: want };
}

interface Line {
  readonly text: string;
  /** When it may be, undefined for the moment of the line before. */
  readonly when: { readonly fromSec: number; readonly untilSec: number } | undefined;
  readonly mark: string;
  readonly words: readonly string[];
}

interface Seen {
  readonly sec: number;
  readonly mark: ">" | "!";
  readonly words: readonly string[];
}

const LINE = /^(?:(\+?)([\d.]+?)(?:\.\.([\d.]+))? s(?:±([\d.]+))? +)?([<>!*]) +(.+)$/;

/** Clocks are compared to a hundredth of a second. */
const TOLERANCE_SEC = 0.005;

const WALL_MS = 1_780_000_000_000;

class Player {
  readonly #config: Partial<DhcpConfig>;
  readonly #luck: Luck;
  readonly #got: string[] = [];
  readonly #seen: Seen[] = [];
  readonly #sent: Received[] = [];
  #client: DhcpSimulation;
  #read = 0;
  #lastSec = 0;
  #bootId = 1;
  /** What the wall clock shows when the boot clock shows zero. */
  #wallMs = WALL_MS;
  /** The lease store: JSON text. */
  #record: string | undefined;

  constructor(config: Partial<DhcpConfig>, luck: Luck) {
    this.#config = config;
    this.#luck = luck;
    this.#client = new DhcpSimulation(config, 0, luck);
  }

  play(lines: readonly string[]): readonly string[] {
    for (const text of lines) {
      const line = parseLine(text, this.#lastSec);
      if (line.mark === ">" || line.mark === "!") this.#expect(line);
      else this.#act(line);
    }
    this.#flush();
    return this.#got;
  }

  /** Waits for the next thing that happens, and compares it with the line. */
  #expect(line: Line): void {
    const isNow = line.when === undefined;
    while (this.#seen.length === 0) {
      const hasWoken = !isNow && this.#client.wakeOnce(Number.POSITIVE_INFINITY);
      this.#look();
      if (!hasWoken) break;
    }
    const seen = this.#seen.shift();
    if (seen === undefined) {
      this.#got.push(`nothing, instead of: ${line.text}`);
      return;
    }
    this.#lastSec = seen.sec;
    this.#got.push(isAsWritten(seen, line) ? line.text : describe(seen));
  }

  /** Moves time to that of the line, while nothing may happen, and does what it says. */
  #act(line: Line): void {
    const { when, mark, words, text } = line;
    if (when !== undefined) {
      while (this.#client.wakeOnce(when.fromSec));
      this.#look();
      this.#client.sleepTo(when.fromSec);
    }
    this.#flush();
    this.#got.push(text);
    if (mark === "<") this.#reply(words);
    else this.#command(words);
    this.#look();
    this.#lastSec = this.#client.now / 1000;
  }

  /** What happened and had no line. */
  #flush(): void {
    this.#got.push(...this.#seen.splice(0).map(describe));
  }

  /** Takes in what the client has done since the last look. */
  #look(): void {
    const { effects, now } = this.#client;
    for (; this.#read < effects.length; this.#read += 1) {
      const effect = effects[this.#read];
      if (effect === undefined) continue;
      const sec = now / 1000;
      if (effect.kind === "send") {
        this.#sent.push(receive(effect.payload));
        this.#seen.push({ sec, mark: ">", words: wordsOfMessage(effect, this.#sent) });
      } else {
        this.#seen.push({ sec, mark: "!", words: wordsOfNews(effect, sec) });
        this.#store(effect);
      }
    }
  }

  /** Keeps leases as the engine does: those that were not lost by way of carrier. */
  #store(effect: Exclude<DhcpEffect, { kind: "send" }>): void {
    if (effect.kind === "lease-bound" || effect.kind === "lease-renewed") {
      this.#record = JSON.stringify(encodeLeaseRecord(effect.lease, this.#clock()));
    } else if (effect.kind === "lease-lost" && effect.reason !== "stopped") {
      this.#record = undefined;
    } else if (effect.kind === "remembered-refused") {
      this.#record = undefined;
    }
  }

  #clock() {
    const { now } = this.#client;
    return { now, wallMs: this.#wallMs + now, bootId: `boot-${this.#bootId}` };
  }

  #reply([type = "", ...words]: readonly string[]): void {
    const { to, ...fields } = replyFields(words);
    const asked = to === undefined ? this.#sent.at(-1) : this.#sent[to - 1];
    const xid = to === 0 ? 0xdead_beef : (asked?.xid ?? 0);
    const kind = type.toLowerCase();
    if (kind !== "offer" && kind !== "ack" && kind !== "nak") throw new SyntaxError(`< ${type}`);
    this.#client.reply({ ...fields, type: kind, xid });
  }

  #command([name = "", ...words]: readonly string[]): void {
    const client = this.#client;
    switch (name) {
      case "start":
        client.deliver({ kind: "start", remembered: this.#remembered(words.includes("adopts")) });
        return;
      case "check":
        client.deliver({ kind: "check", gatewayAsked: words.includes("gateway") });
        return;
      case "suspend":
        client.sleepTo((client.now + secondsOf(words) * 1000) / 1000);
        return;
      case "resume":
        client.deliver({ kind: "wake" });
        client.deliver({ kind: "check", gatewayAsked: false });
        return;
      case "wall-clock":
        this.#wallMs += secondsOf(words) * 1000;
        return;
      case "killed":
        this.#client = new DhcpSimulation(this.#config, client.now, this.#luck);
        this.#read = 0;
        return;
      case "reboot":
        this.#wallMs += client.now + secondsOf(words) * 1000;
        this.#bootId += 1;
        this.#client = new DhcpSimulation(this.#config, 0, this.#luck);
        this.#read = 0;
        return;
      case "nothing":
        this.#nothing(words);
        return;
      default:
        client.deliver(plainEvent(name));
    }
  }

  /** Of the lease store, as the engine reads it. */
  #remembered(isOnLink: boolean): RememberedLease | undefined {
    if (this.#record === undefined) return undefined;
    const decoded = decodeLeaseRecord(JSON.parse(this.#record), this.#clock());
    const kind = isOnLink ? "adopt" : "reboot";
    if (decoded.ok) return { kind, lease: decoded.value };
    return decoded.error.code === "expired" ? { kind, lease: decoded.error.lease } : undefined;
  }

  /** `nothing`: it is quiet until now. `nothing ever`: it also will be. */
  #nothing(words: readonly string[]): void {
    if (!words.includes("ever")) return;
    const due = deadline(this.#client.state);
    if (due !== undefined) this.#got.push(`but a deadline at ${due / 1000} s`);
  }
}

function parseLine(text: string, lastSec: number): Line {
  const match = LINE.exec(text);
  if (match === null) throw new SyntaxError(`Not a line of a timeline: ${text}`);
  const [, plus, from, until, spread = "0", mark = "", words = ""] = match;
  const base = plus === "+" ? lastSec : 0;
  const margin = Number(spread) + TOLERANCE_SEC;
  // What is done is done at the very time, what is waited for may be off by rounding.
  const slack = mark === ">" || mark === "!" ? margin : 0;
  const when =
    from === undefined
      ? undefined
      : {
          fromSec: base + Number(from) - slack,
          untilSec: base + Number(until ?? from) + slack,
        };
  return { text, when, mark, words: words.split(/ +/) };
}

function isAsWritten({ sec, mark, words }: Seen, line: Line): boolean {
  const isThen = line.when === undefined || (line.when.fromSec <= sec && sec <= line.when.untilSec);
  return isThen && mark === line.mark && line.words.every((word) => words.includes(word));
}

function describe({ sec, mark, words }: Seen): string {
  return `${Math.round(sec * 100) / 100} s ${mark} ${words.join(" ")}`;
}

/** `to`: which of the messages sent is answered, from 1; 0 is none of them. */
function replyFields(
  words: readonly string[],
): Pick<ReplyFields, "address" | "options"> & { readonly to: number | undefined } {
  const values = new Map(words.map((word) => [word.split("=")[0], word.split("=")[1]]));
  const read = <T>(name: string, convert: (text: string) => T): T | undefined => {
    const text = values.get(name);
    values.delete(name);
    return text === undefined ? undefined : convert(text);
  };
  const toSeconds = (text: string): Uint8Array => u32(Number(text));
  const rapid = values.has("rapid") ? { 80: new Uint8Array(0) } : {};
  values.delete("rapid");
  const given = {
    1: read("mask", addresses),
    3: read("router", addresses),
    51: read("lease", toSeconds),
    54: read("server", addresses),
    58: read("t1", toSeconds),
    59: read("t2", toSeconds),
  };
  const address = read("address", ipv4);
  const to = read("to", Number);
  if (values.size > 0) throw new SyntaxError(`Unknown words of a reply: ${[...values.keys()]}`);
  const options = Object.fromEntries(
    Object.entries({ ...given, ...rapid }).filter(([, value]) => value !== undefined),
  );
  return { to, options, ...(address === undefined ? {} : { address }) };
}

const UNITS: Readonly<Record<string, number>> = {
  s: 1,
  min: 60,
  h: 3600,
  d: 86_400,
  y: 31_536_000,
};

/** `1 h`, `-1 y`. */
function secondsOf([amount = "", unit = ""]: readonly string[]): number {
  const seconds = Number(amount) * (UNITS[unit] ?? Number.NaN);
  if (Number.isNaN(seconds)) throw new SyntaxError(`Not a duration: ${amount} ${unit}`);
  return seconds;
}

const PLAIN_EVENTS: readonly DhcpEvent[] = [
  { kind: "stop" },
  { kind: "release" },
  { kind: "renew" },
  CONFLICT,
  { kind: "same-network" },
  { kind: "wake" },
];

function plainEvent(name: string): DhcpEvent {
  const event = PLAIN_EVENTS.find(({ kind }) => kind === name);
  if (event === undefined) throw new SyntaxError(`Unknown: * ${name}`);
  return event;
}
