/**
 * Which numbers a lab uses. Everything follows from an uplink's index i, so a
 * test can say what it expects without asking.
 *
 * | mode     | prefix on uplink i       | leased address          | after moveAddress |
 * |----------|--------------------------|-------------------------|-------------------|
 * | distinct | 10.(i%256).(i/256).0/24  | .100                    | .101              |
 * | overlap  | 192.168.8.0/24 on all    | 192.168.8.(10+i)        | 192.168.8.(138+i) |
 * | same     | 192.168.8.0/24 on all    | 192.168.8.100 on all    | 192.168.8.101     |
 *
 * The gateway is .1 of the prefix. Behind its NAT, ISP i is 100.(64+i/256).(i%256).1.
 */
export type LabMode = "distinct" | "overlap" | "same";

export interface UplinkNumbers {
  readonly index: number;
  readonly mac: string;
  /** The first three octets of the /24. */
  readonly net: string;
  readonly gateway: string;
  readonly address: string;
  readonly secondAddress: string;
  /** The ISP's outside address: what 203.0.113.1 sees as the source. */
  readonly outside: string;
  /** The other end of that /31, in the inet namespace. */
  readonly inside: string;
}

export const SERVER = "203.0.113.1";
export const UDP_PORT = 7777;
export const TCP_PORT = 7778;

/** How many uplinks a mode has room for. */
export const MAX_UPLINKS: Readonly<Record<LabMode, number>> = {
  distinct: 1024,
  // Two addresses each out of one /24.
  overlap: 116,
  same: 1024,
};

export function uplinkNumbers(index: number, mode: LabMode): UplinkNumbers {
  const low = index % 256;
  const high = Math.floor(index / 256);
  const net = mode === "distinct" ? `10.${low}.${high}` : "192.168.8";
  const host = mode === "overlap" ? 10 + index : 100;
  const second = mode === "overlap" ? host + 128 : 101;
  const hex = (value: number) => value.toString(16).padStart(2, "0");
  return {
    index,
    mac: `02:00:00:00:${hex(high)}:${hex(low)}`,
    net,
    gateway: `${net}.1`,
    address: `${net}.${host}`,
    secondAddress: `${net}.${second}`,
    outside: `100.${64 + high}.${low}.1`,
    inside: `100.${64 + high}.${low}.0`,
  };
}

/** Which ISP has this outside address; undefined for an address that no ISP of the lab has. */
export function ispOf(outside: string): number | undefined {
  const [a, b, c, d] = outside.split(".").map(Number);
  if (a !== 100 || d !== 1 || b === undefined || c === undefined) return undefined;
  return b >= 64 && b < 128 ? (b - 64) * 256 + c : undefined;
}
