import { ByteReader, type Ipv4, ipv4FromUint32 } from "@mnm/proto/net";

/** RFC 2132 unless it says otherwise. */
export const Option = {
  pad: 0,
  subnetMask: 1,
  routers: 3,
  dnsServers: 6,
  hostName: 12,
  domain: 15,
  mtu: 26,
  broadcast: 28,
  staticRoutes: 33,
  ntpServers: 42,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverId: 54,
  parameterList: 55,
  maxMessageSize: 57,
  t1: 58,
  t2: 59,
  vendorClass: 60,
  clientId: 61,
  rapidCommit: 80, // RFC 4039
  captivePortal: 114, // RFC 8910
  searchDomains: 119, // RFC 3397
  classlessRoutes: 121, // RFC 3442
  microsoftRoutes: 249, // the same format as 121, older
  end: 255,
} as const;

/** Options by code, each the concatenation of its parts (RFC 3396 §7). */
export type RawOptions = ReadonlyMap<number, Uint8Array>;

/** The three places of a BOOTP message that can hold options. */
export interface OptionAreas {
  readonly options: Uint8Array;
  readonly file: Uint8Array;
  readonly sname: Uint8Array;
}

/**
 * Groups the bytes by option code; undefined when an area ends in the middle of an option.
 *
 * Unknown codes are kept and a missing end marker is accepted, because deployed servers send
 * both. Overload (52) counts only in the options field, and once: naming itself again inside
 * `file` or `sname` led dhcpcd into an endless loop (CVE-2014-6060).
 */
export function splitOptions(areas: OptionAreas): RawOptions | undefined {
  const parts = new Map<number, Uint8Array[]>();
  if (!collect(areas.options, parts)) return undefined;

  const [overload, ...more] = parts.get(Option.overload) ?? [];
  const bits = overload?.length === 1 && more.length === 0 ? (overload[0] ?? 0) : 0;
  const isValid = bits >= 1 && bits <= 3;
  // RFC 3396 §5: the order is options, file, sname.
  if (isValid && (bits & 1) !== 0 && !collect(areas.file, parts)) return undefined;
  if (isValid && (bits & 2) !== 0 && !collect(areas.sname, parts)) return undefined;

  return new Map([...parts].map(([code, values]) => [code, concatenate(values)]));
}

function collect(area: Uint8Array, parts: Map<number, Uint8Array[]>): boolean {
  const reader = new ByteReader(area);
  while (reader.remaining > 0) {
    const code = reader.u8();
    if (code === Option.end) break;
    if (code === Option.pad) continue;
    const value = reader.bytes(reader.u8());
    if (reader.overrun) return false;
    const values = parts.get(code);
    if (values === undefined) parts.set(code, [value]);
    else values.push(value);
  }
  return true;
}

function concatenate(values: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(values.reduce((length, value) => length + value.length, 0));
  let at = 0;
  for (const value of values) {
    whole.set(value, at);
    at += value.length;
  }
  return whole;
}

/** Something in an accepted reply that was not taken as it was sent. */
export interface LeaseRemark {
  readonly option: number;
  readonly problem: "missing" | "malformed" | "unusable" | "too-many";
}

/** Reads typed values out of options and remembers what was wrong with them. */
export class OptionReader {
  readonly #options: RawOptions;
  readonly #remarks: LeaseRemark[] = [];

  constructor(options: RawOptions) {
    this.#options = options;
  }

  get remarks(): readonly LeaseRemark[] {
    return this.#remarks;
  }

  remark(option: number, problem: LeaseRemark["problem"]): undefined {
    this.#remarks.push({ option, problem });
  }

  bytes(option: number): Uint8Array | undefined {
    return this.#options.get(option);
  }

  u16(option: number): number | undefined {
    return this.#scalar(option, 2)?.u16();
  }

  u32(option: number): number | undefined {
    return this.#scalar(option, 4)?.u32();
  }

  address(option: number): Ipv4 | undefined {
    const value = this.u32(option);
    return value === undefined ? undefined : ipv4FromUint32(value);
  }

  /** Those that are `usable`, each once, at most `max`. */
  addresses(option: number, max: number, usable: (address: Ipv4) => boolean): readonly Ipv4[] {
    const bytes = this.bytes(option);
    if (bytes === undefined) return [];
    if (bytes.length === 0 || bytes.length % 4 !== 0) return this.remark(option, "malformed") ?? [];
    const reader = new ByteReader(bytes);
    const all = new Set<Ipv4>();
    while (reader.remaining > 0) all.add(ipv4FromUint32(reader.u32()));
    return this.atMost(option, max, this.only(option, [...all], usable));
  }

  /**
   * What `decode` makes of the option.
   *
   * @param problem what it is when `decode` answers undefined
   */
  decoded<T>(
    option: number,
    decode: (bytes: Uint8Array) => T | undefined,
    problem: "malformed" | "unusable",
  ): T | undefined {
    const bytes = this.bytes(option);
    if (bytes === undefined) return undefined;
    return decode(bytes) ?? this.remark(option, problem);
  }

  only<T>(option: number, values: readonly T[], usable: (value: T) => boolean): readonly T[] {
    const kept = values.filter(usable);
    if (kept.length < values.length) this.remark(option, "unusable");
    return kept;
  }

  atMost<T>(option: number, max: number, values: readonly T[]): readonly T[] {
    if (values.length > max) this.remark(option, "too-many");
    return values.slice(0, max);
  }

  #scalar(option: number, length: number): ByteReader | undefined {
    const bytes = this.bytes(option);
    if (bytes === undefined) return undefined;
    return bytes.length === length ? new ByteReader(bytes) : this.remark(option, "malformed");
  }
}
