/** Messages and announcements as the words of a capture. */
import { assertNever, formatIpv4, ipv4FromUint32 } from "@mnm/proto/net";
import type { DhcpEffect, Lease } from "../dhcp4/index.js";
import type { Received } from "./dhcp4-server.js";

/**
 * The last of `sent` is the message. Its xid is told by the number of the message that had it first,
 * and its `secs` also by whether the message before had the same.
 */
export function wordsOfMessage(
  { message, to }: DhcpEffect & { kind: "send" },
  sent: readonly Received[],
): readonly string[] {
  const last = sent.at(-1);
  if (last === undefined) return [];
  const { ciaddr, options, secs, xid } = last;
  const addressIn = (code: number): string => {
    const value = options.get(code);
    if (value === undefined) return `no-${code}`;
    return `${code}=${formatIpv4(ipv4FromUint32(Buffer.from(value).readUInt32BE(0)))}`;
  };
  return [
    message.toUpperCase(),
    ...(to.kind === "unicast" ? ["unicast", formatIpv4(to.server)] : ["broadcast"]),
    `xid=${sent.findIndex((other) => other.xid === xid) + 1}`,
    `secs=${secs}`,
    sent.at(-2)?.secs === secs ? "secs=unchanged" : "secs=changed",
    ciaddr === 0 ? "no-ciaddr" : `ciaddr=${formatIpv4(ciaddr)}`,
    addressIn(50),
    addressIn(54),
    options.has(80) ? "80" : "no-80",
  ];
}

/** `age`: how long ago the request was sent from which the lease counts. */
export function wordsOfNews(
  effect: Exclude<DhcpEffect, { kind: "send" }>,
  sec: number,
): readonly string[] {
  if (effect.kind === "reply-ignored") return ["ignored", effect.reason];
  const age = Math.round(sec * 1000 - effect.lease.acquiredAt) / 1000;
  const words = [effect.kind, ...wordsOfLease(effect.lease), `age=${age}`];
  switch (effect.kind) {
    case "lease-lost":
      return [...words, effect.reason];
    case "lease-renewed":
      return [...words, `before=${formatIpv4(effect.before.terms.address)}`];
    case "lease-bound":
    case "lease-rebinding":
    case "remembered-refused":
      return words;
    default:
      return assertNever(effect);
  }
}

function wordsOfLease({ terms, timers }: Lease): readonly string[] {
  const { address, prefixLength, serverId, gateways } = terms;
  const times =
    timers.kind === "infinite"
      ? ["for-ever"]
      : [`t1=${timers.t1 / 1000}`, `t2=${timers.t2 / 1000}`, `expiry=${timers.expiry / 1000}`];
  return [
    `${formatIpv4(address)}/${prefixLength}`,
    `from=${formatIpv4(serverId)}`,
    ...gateways.map((gateway) => `gateway=${formatIpv4(gateway)}`),
    ...times,
  ];
}
