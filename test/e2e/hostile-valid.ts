import { ip4, prefix4 } from "./helper-rig.js";
import { type Arena, addressFields } from "./hostile-arena.js";
import type { Message } from "./hostile-wire.js";
import type { Kind } from "./hostile-world.js";

/** A sentence of the contract, a call that breaks it, and how the helper is to answer. */
export type Case = readonly [sentence: string, kind: Kind, request: Message, want: string];

/** Calls that are allowed, one of each kind: each case is one of these but for what it says. */
export type Valid = Readonly<Record<Exclude<Kind, "BroadcastLegacyEvent">, Message>>;

export function validCalls(arena: Arena): Valid {
  const link = arena.link("wan0").ref;
  const route = { link, table: 7701, type: 1, destination: prefix4("0.0.0.0/0"), metric: 7 };
  const gateway = ip4("10.0.0.250");
  const rule = { kind: 4, from: ip4("10.0.0.5"), table: 7701 };
  return {
    putAddress: {
      link,
      ...addressFields("10.0.0.5/24"),
      broadcast: ip4("10.0.0.255"),
      validSec: 600,
    },
    putRoute: { ...route, gateway, preferredSource: ip4("10.0.0.5"), onlink: 1, mtu: 1400 },
    putRule: { link, rule },
    putLinkSettings: { link, up: 1, rpFilter: 2, arpIgnore: 1, arpAnnounce: 2 },
    OpenPackets: link,
    SendDhcp: { link, payload: discover(arena) },
    WatchArp: { link, addresses: [ip4("10.0.0.250")] },
    SendArp: { link, request: { sender: ip4("10.0.0.5"), gateway, gatewayMac: Buffer.alloc(0) } },
    deleteRule: { rule },
    deleteRoute: { ...route, gateway },
    deleteAddress: { link, ...addressFields("10.0.0.5/24") },
  };
}

/** A DHCPDISCOVER of wan0, with these bytes in the place of its own. */
export function discover(arena: Arena, ...changes: readonly [number, readonly number[]][]): Buffer {
  const bytes = Buffer.alloc(300);
  bytes.set([1, 1, 6, 0, 1, 2, 3, 4]);
  bytes.set(arena.link("wan0").mac, 28);
  bytes.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255], 236);
  for (const [at, change] of changes) bytes.set(change, at);
  return bytes;
}
