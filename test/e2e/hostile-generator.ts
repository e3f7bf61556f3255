import type { Random } from "./churn.js";
import { ip4 } from "./helper-rig.js";
import { ALLOWED, type ArenaLink } from "./hostile-arena.js";
import { lastOf, networkOf, RULE, RULE_FIELDS } from "./hostile-oracle.js";
import { isMessage, type Message, type Value } from "./hostile-wire.js";
import type { Ask, HostileWorld, Kind } from "./hostile-world.js";

/** Numbers at which something changes, be it an address, a table, a length or a metric. */
const NUMBERS: readonly number[] = [
  ...[0, 1, 2, 3, 4, 5, 8, 9, 16, 24, 30, 31, 32, 33, 53, 77, 119, 252, 253, 254, 255, 256],
  ...[575, 576, 999, 1000, 1500, 1999, 2000, 7700, 7701, 7702, 7799, 7800, 9000, 9216, 9217],
  ...[9599, 9600, 9899, 9900, 9999, 10_000, 20_000, 32_766, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff],
];
const ADDRESSES: readonly string[] = [
  ...["0.0.0.0", "0.0.0.1", "1.0.0.0", "8.8.8.8", "10.0.0.1", "10.0.0.101", "10.0.0.255"],
  ...["10.1.0.3", "10.9.0.1", "10.9.0.2", "126.255.255.255", "127.0.0.0", "127.0.0.1", "128.0.0.0"],
  ...["169.254.0.1", "172.17.0.1", "172.17.0.9", "172.17.255.255", "192.0.2.1", "192.0.2.77"],
  ...["192.168.1.1", "192.168.1.200", "192.168.1.255", "192.168.3.255", "192.168.7.9"],
  ...["198.51.100.0", "198.51.100.3", "203.0.113.0", "223.255.255.255", "224.0.0.1"],
  ...["239.255.255.255", "240.0.0.1", "255.255.255.255"],
];
const NAMES = [
  "",
  "lo",
  "wan0",
  "wan1",
  "tun0",
  "f0",
  "br0",
  "mac0",
  "off0",
  "wan",
  "wan0 ",
  "*",
  ".",
];
const DESTINATIONS = [
  "0.0.0.0",
  "1.0.0.0",
  "10.0.0.0",
  "172.17.0.0",
  "198.51.100.0",
  "203.0.113.0",
];

/** Asks of one hostile mind: half of them as a controller would ask, the others nearly so, or wild. */
export class Generator {
  readonly #random: Random;
  readonly #world: HostileWorld;

  constructor(random: Random, world: HostileWorld) {
    this.#random = random;
    this.#world = world;
  }

  ask(kind: Kind): Ask {
    const request = this.#makers()[kind]();
    const mood = this.#random(10);
    if (mood < 4) return { kind, request };
    if (mood < 8) return { kind, request: this.#mutate(request) };
    return { kind, request: this.#wild(request) };
  }

  pick<T>(from: readonly T[]): T {
    const one = from[this.#random(from.length)];
    if (one === undefined) throw new RangeError("There is nothing to pick from");
    return one;
  }

  #chance(percent: number): boolean {
    return this.#random(100) < percent;
  }

  #makers(): Readonly<Record<Kind, () => Message>> {
    const link = this.pick(this.#world.links.filter(({ isAllowed }) => isAllowed));
    return {
      putAddress: () => this.#putAddress(link),
      deleteAddress: () => this.#deleteAddress(link),
      putRoute: () => this.#route(link),
      deleteRoute: () => this.#deleteRoute(link),
      putRule: () => this.#putRule(link),
      deleteRule: () => ({ rule: this.#putRule(link)["rule"] }),
      putLinkSettings: () => this.#settings(link),
      OpenPackets: () => link.ref,
      SendDhcp: () => this.#dhcp(link),
      WatchArp: () => ({ link: link.ref, addresses: this.#several(4, () => this.#free(link)) }),
      SendArp: () => this.#arp(link),
      BroadcastLegacyEvent: () => ({ ifindex: link.ifindex, up: 1 }),
    };
  }

  #several<T>(most: number, make: () => T): readonly T[] {
    return Array.from({ length: this.#random(most + 1) }, make);
  }

  /** An address that is likely to be nobody's. */
  #free({ ifindex }: ArenaLink): number {
    const net = this.pick([
      "10.0.0.0",
      "10.1.0.0",
      "10.2.0.0",
      "198.18.0.0",
      `198.19.${ifindex}.0`,
    ]);
    return ip4(net) + 2 + this.#random(90);
  }

  #own(link: ArenaLink): number {
    const mine = this.#world.addresses.filter(({ ifindex }) => ifindex === link.ifindex);
    return mine.length === 0 ? this.#free(link) : this.pick(mine).address;
  }

  #putAddress(link: ArenaLink): Message {
    const mine = this.#world.addresses.filter(
      ({ ifindex, isOurs }) => isOurs && ifindex === link.ifindex,
    );
    const validSec = this.pick([600, 86_400, 0xffff_ffff]);
    if (mine.length > 0 && (mine.length > 16 || this.#chance(20))) {
      const { address, length, peer, broadcast } = this.pick(mine);
      const other = peer === address ? undefined : peer;
      return { link: link.ref, address, prefixLength: length, broadcast, validSec, peer: other };
    }
    const address = this.#free(link);
    const prefixLength = this.pick([8, 16, 24, 24, 24, 30, 31, 32]);
    const hasPeer = link.isPointToPoint && this.#chance(50);
    const hasBroadcast = !hasPeer && prefixLength <= 30 && this.#chance(50);
    const broadcast = hasBroadcast ? lastOf(address, prefixLength) : undefined;
    const peer = hasPeer ? this.#free(link) : undefined;
    return { link: link.ref, address, prefixLength, broadcast, validSec, peer };
  }

  #deleteAddress(link: ArenaLink): Message {
    const mine = this.#world.addresses.filter(
      ({ ifindex, isOurs }) => isOurs && ifindex === link.ifindex,
    );
    if (mine.length === 0) return { link: link.ref, address: this.#free(link), prefixLength: 24 };
    const { address, length } = this.pick(mine);
    return { link: link.ref, address, prefixLength: length };
  }

  #table(): number {
    const [first, last] = ALLOWED.tables;
    return this.pick([first, last, first + this.#random(last - first)]);
  }

  #destination(): Message {
    const length = this.pick([0, 1, 8, 16, 24, 24, 32]);
    return { network: networkOf(ip4(this.pick(DESTINATIONS)), length), length };
  }

  #route(link: ArenaLink): Message {
    const isMain = this.#chance(20);
    const type = isMain || this.#chance(70) ? 1 : 2 + this.#random(3);
    const isUnicast = type === 1;
    const hasGateway = isUnicast && this.#chance(60);
    return {
      link: link.ref,
      table: isMain ? 254 : this.#table(),
      type,
      destination: isMain ? { network: 0, length: 0 } : this.#destination(),
      metric: isMain ? this.pick([1000, 1999, 1000 + this.#random(1000)]) : this.#random(50),
      gateway: hasGateway ? this.#free(link) : undefined,
      preferredSource: isUnicast && this.#chance(40) ? this.#own(link) : undefined,
      onlink: hasGateway && this.#chance(80) ? 1 : 0,
      mtu: isUnicast && this.#chance(30) ? 1400 : undefined,
    };
  }

  #deleteRoute(link: ArenaLink): Message {
    const { preferredSource, onlink, mtu, ...rest } = this.#route(link);
    return rest;
  }

  #putRule(link: ArenaLink): Message {
    const kind = 1 + this.#random(9);
    const fields = RULE_FIELDS[kind] ?? [];
    const held = this.#world.addresses.filter(({ ifindex }) => ifindex === link.ifindex);
    const { peer, length } = held.length === 0 ? { peer: 0, length: 1 } : this.pick(held);
    const from = kind === RULE.SOURCE_UNREACHABLE ? this.#free(link) : this.#own(link);
    const every: Message = {
      device: kind === RULE.IIF ? ALLOWED.iifs[0] : link.name,
      from,
      to: { network: networkOf(peer, length), length },
      table: this.#table(),
      metric: 1 + this.#random(9999),
      priority: this.pick([9600, 9899, 9600 + this.#random(300)]),
      uid: ALLOWED.uids[0],
      fwmark: ALLOWED.fwmarks[0],
    };
    const rule = Object.fromEntries(fields.map((field) => [field, every[field]]));
    const isShared = kind === RULE.MAIN_WITHOUT_DEFAULTS;
    return { link: isShared ? undefined : link.ref, rule: { kind, ...rule } };
  }

  #settings(link: ArenaLink): Message {
    const some = (below: number) => (this.#chance(50) ? this.#random(below) : undefined);
    return {
      link: link.ref,
      up: this.#random(2),
      rpFilter: some(3),
      arpIgnore: some(9),
      arpAnnounce: some(3),
      ignoreRoutesWithLinkdown: some(2),
      promoteSecondaries: some(2),
    };
  }

  #dhcp(link: ArenaLink): Message {
    const payload = Buffer.alloc(240 + this.#random(1233));
    const mac = link.isEthernet ? link.mac : Buffer.alloc(0);
    payload.set([1, 1, mac.length, 0, 1, 2, 3, 4]);
    payload.set(mac, 28);
    payload.set([0x63, 0x82, 0x53, 0x63], 236);
    if (this.#chance(50)) return { link: link.ref, payload, server: undefined, source: undefined };
    const source = this.#own(link);
    payload.writeUInt32BE(source, 12);
    return { link: link.ref, payload, server: ip4("10.0.0.250"), source };
  }

  #arp(link: ArenaLink): Message {
    const gateways = this.#world.routes.filter(
      (route) => route.isOurs && route.ifindex === link.ifindex && route.gateway !== 0,
    );
    const gateway = gateways.length === 0 ? this.#free(link) : this.pick(gateways).gateway;
    const gatewayMac = this.#chance(50) ? Buffer.alloc(0) : Buffer.from("020000000009", "hex");
    return this.pick<Message>([
      { link: link.ref, probe: { target: this.#free(link) } },
      { link: link.ref, announcement: { address: this.#own(link) } },
      { link: link.ref, request: { sender: this.#own(link), gateway, gatewayMac } },
    ]);
  }

  /** The same but for one field, at any depth. */
  #mutate(request: Message): Message {
    const fields = Object.keys(request);
    const field = this.pick(fields);
    const value = request[field];
    const goesDeeper = isMessage(value) && this.#chance(85);
    const changed = goesDeeper ? this.#mutate(value) : this.#other(field, value);
    return { ...request, [field]: changed };
  }

  /** Every field something else. */
  #wild(request: Message): Message {
    const entries = Object.entries(request).map(([field, value]) => {
      if (this.#chance(30)) return [field, value] as const;
      return [field, isMessage(value) ? this.#wild(value) : this.#other(field, value)] as const;
    });
    return Object.fromEntries(entries);
  }

  #other(field: string, value: Value | undefined): Value | undefined {
    if (field === "link") return this.#chance(20) ? undefined : this.pick(this.#world.links).ref;
    if (isMessage(value)) return this.#chance(30) ? undefined : this.#destinationFor(field);
    if (typeof value === "string") return this.pick(NAMES);
    if (value instanceof Uint8Array) return this.#otherBytes(value);
    if (Array.isArray(value)) return this.#several(6, () => this.#number());
    // Nothing expires while others are judged by it.
    if (field === "validSec") return this.pick([0, 600, 0xffff_ffff]);
    if (field === "to") return this.#destination();
    return typeof value === "number" ? this.#otherNumber(value) : this.#number();
  }

  #otherNumber(value: number): number | undefined {
    if (this.#chance(15)) return undefined;
    // A neighbour, for what is wrong by one.
    if (this.#chance(30)) return (value + (this.#chance(50) ? 1 : 0xffff_ffff)) % 0x1_0000_0000;
    return this.#number();
  }

  #destinationFor(field: string): Message | undefined {
    return field === "destination" || field === "to" ? this.#destination() : undefined;
  }

  #number(): number {
    const kind = this.#random(4);
    if (kind === 0) return this.#random(0x1_0000_0000);
    return kind === 1 ? this.pick(NUMBERS) : ip4(this.pick(ADDRESSES));
  }

  #otherBytes(value: Uint8Array): Buffer {
    const copy = Buffer.from(value);
    // Where the checks of a BOOTP message look, and of a MAC.
    const at = this.pick([0, 1, 2, 3, 12, 15, 24, 27, 28, 33, 34, 43, 236, 239]);
    switch (this.#random(4)) {
      case 0:
        return Buffer.alloc(this.pick([0, 5, 6, 7, 239, 240, 1472, 1473]));
      case 1:
        return Buffer.concat([copy, Buffer.alloc(1 + this.#random(300))]);
      default:
        if (at < copy.length) copy.writeUInt8(this.#random(256), at);
        return copy;
    }
  }
}
