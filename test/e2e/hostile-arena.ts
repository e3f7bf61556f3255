import { writeFileSync } from "node:fs";
import { must, until } from "../lab/run.js";
import { bystanders } from "./bystanders.js";
import { HelperRig, ip4, linkRef } from "./helper-rig.js";
import { CONTROLLER_UID, HostileController } from "./hostile-controller.js";
import type { Message } from "./hostile-wire.js";

/** What the arena's helper.json says. */
export interface Allowed {
  readonly tables: readonly [number, number];
  readonly mainMetrics: readonly [number, number] | undefined;
  readonly uids: readonly number[];
  readonly fwmarks: readonly number[];
  readonly iifs: readonly string[];
}

export const ALLOWED: Allowed = {
  tables: [7701, 7799],
  mainMetrics: [1000, 1999],
  uids: [1000],
  fwmarks: [0x77],
  iifs: ["f0"],
};

/** Which links the arena's helper.json allows: wan0 to wan2, Ethernet, and tun0, point to point. */
export const isAllowedName = (name: string): boolean => /^(wan|tun)/.test(name);

/** A link as the kernel has it, by ip(8). */
export interface ArenaLink {
  readonly ref: Message;
  readonly ifindex: number;
  readonly name: string;
  readonly mac: Buffer;
  readonly isAllowed: boolean;
  readonly isPointToPoint: boolean;
  readonly isEthernet: boolean;
}

/** What other programs hold, beside 1,000 rules, routes and addresses of theirs. */
const STRANGERS = [
  // Links that are not allowed: a bridge with a port, one that is down, a macvlan of an allowed one.
  "link add br0 type bridge",
  "link add port0 master br0 type veth peer name port1",
  "link set br0 up",
  "link set port0 up",
  "link set port1 up",
  "addr add 172.17.0.1/16 brd + dev br0",
  "link add off0 type veth peer name off1",
  "addr add 192.168.7.1/24 dev off0",
  "link add link wan2 name mac0 type macvlan mode bridge",
  "link set mac0 up",
  "addr add 192.168.1.1/24 brd + dev mac0",
  "addr add 192.168.3.254/31 dev mac0",
  "addr add 2001:db8::1/64 dev br0 nodad",
  "route add 2001:db8:1::/48 via 2001:db8::2",
  // Where ours would be.
  "route add default via 192.0.2.9 metric 1500",
  "route add default via 192.0.2.9 table 7702 metric 5",
  "route add 203.0.113.0/24 via 192.0.2.9 table 7701 metric 9",
  "addr add 10.9.0.1 peer 10.9.0.2/32 dev tun0",
  "neigh add 10.0.0.250 lladdr 02:00:00:00:00:09 dev wan0 nud permanent",
  "neigh add 10.1.0.250 lladdr 02:00:00:00:00:09 dev wan1 nud permanent",
  "neigh add 172.17.0.9 lladdr 02:00:00:00:00:0a dev br0 nud permanent",
  "neigh add proxy 10.0.0.77 dev wan0",
];

const RULESET = `
table ip nat {
  chain post {
    type nat hook postrouting priority srcnat
    oifname "wan0" masquerade
  }
}
table inet filter {
  set known {
    type ipv4_addr
    elements = { 192.0.2.1, 198.51.100.7 }
  }
  chain in {
    type filter hook input priority 0; policy accept;
    ip saddr @known drop
  }
}
`;

/** A helper in a namespace that is full of what belongs to others, and who is to attack it. */
export class Arena {
  readonly rig = new HelperRig();
  readonly main: Allowed["mainMetrics"];
  #controller: HostileController | undefined;
  #links: readonly ArenaLink[] = [];

  private constructor(main: Allowed["mainMetrics"]) {
    this.main = main;
  }

  /** With `undefined`, helper.json allows no default route in main. */
  static async create(main: Allowed["mainMetrics"]): Promise<Arena> {
    const arena = new Arena(main);
    try {
      await arena.#build();
      return arena;
    } catch (cause) {
      await arena.close();
      throw cause;
    }
  }

  async #build(): Promise<void> {
    const { main, rig } = this;
    const { tables, uids, fwmarks, iifs } = ALLOWED;
    const main_default = main === undefined ? { allow: false } : { metrics: main };
    const selectors = { uids, fwmarks, iifs };
    const config = { links: ["wan*", "tun*"], tables, main_default, selectors };
    const file = `${rig.directory}/helper.json`;
    writeFileSync(file, JSON.stringify(config));
    await rig.start("--config", file, "--peer-uid", String(CONTROLLER_UID));
    const isp = `${rig.namespace}-isp`;
    await rig.addNamespace(isp);
    await this.#shell(QUIET, isp);
    await this.#shell(QUIET);
    const veths = [0, 1, 2].flatMap((at) => [
      `link add wan${at} address 02:00:00:00:01:0${at} type veth peer name isp${at} netns ${isp}`,
      `link set wan${at} up`,
    ]);
    await this.#ip(veths);
    await must("ip", ["-n", isp, "-b", "-"], {
      input: [0, 1, 2].map((at) => `link set isp${at} arp off up\n`).join(""),
    });
    await rig.ip("tuntap", "add", "dev", "tun0", "mode", "tun");
    await this.#ip(["link set tun0 up", ...bystanders(), ...STRANGERS]);
    await rig.ip("-6", "rule", "add", "pref", "9000", "from", "2001:db8::/32", "lookup", "7701");
    await this.#shell(`nft -f - <<'END'\n${RULESET}END`);
    await this.#shell("tc qdisc add dev wan0 ingress; tc qdisc add dev wan1 root pfifo limit 77");
    await until(() => this.#hasSettled(), { timeoutMs: 10_000, what: "carrier everywhere" });
    this.#links = await this.#readLinks();
    this.#controller = new HostileController(rig.socket);
  }

  get controller(): HostileController {
    if (this.#controller === undefined) throw new Error("The arena is not built");
    return this.#controller;
  }

  get links(): readonly ArenaLink[] {
    return this.#links;
  }

  link(name: string): ArenaLink {
    const found = this.#links.find((link) => link.name === name);
    if (found === undefined) throw new Error(`No link ${name}`);
    return found;
  }

  /** The frames that the other ends of the allowed links have received. */
  async framesOut(): Promise<number> {
    const listed: unknown = JSON.parse(
      await must("ip", ["-n", `${this.rig.namespace}-isp`, "-j", "-s", "link"]),
    );
    const counts = asList(listed).map((link) => Number(path(link, "stats64", "rx", "packets")));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async close(): Promise<void> {
    await this.#controller?.close();
    await this.rig.close();
  }

  async #readLinks(): Promise<readonly ArenaLink[]> {
    const listed: unknown = JSON.parse(await this.rig.ip("-j", "link"));
    return asList(listed).map((link) => {
      const [ifindex, name] = [Number(path(link, "ifindex")), String(path(link, "ifname"))];
      const isEthernet = path(link, "link_type") === "ether";
      const hasMac = isEthernet || path(link, "link_type") === "loopback";
      const ref = linkRef(ifindex, name, hasMac ? String(path(link, "address")) : "");
      const { mac } = ref;
      const isPointToPoint = String(path(link, "flags")).includes("POINTOPOINT");
      const isAllowed = isAllowedName(name);
      return { ref: { ...ref }, ifindex, name, mac, isAllowed, isPointToPoint, isEthernet };
    });
  }

  // What the kernel does by itself when links come up must not look like the helper's doing.
  async #hasSettled(): Promise<boolean> {
    const listed: unknown = JSON.parse(await this.rig.ip("-j", "link", "show", "up"));
    const isUp = (link: unknown) => path(link, "operstate") === "UP";
    return asList(listed)
      .filter((link) => path(link, "link_type") === "ether")
      .every(isUp);
  }

  async #ip(lines: readonly string[]): Promise<void> {
    await must("ip", ["-n", this.rig.namespace, "-b", "-"], { input: `${lines.join("\n")}\n` });
  }

  async #shell(script: string, namespace: string = this.rig.namespace): Promise<void> {
    await must("ip", ["netns", "exec", namespace, "sh", "-euc", script]);
  }
}

// No IPv6 where frames are counted, on no link whatever the kernel sends by itself; and the kernel
// promotes secondary addresses, as systemd has it do: else it takes foreign ones away with ours.
const QUIET = `
  echo 1 >/proc/sys/net/ipv6/conf/default/addr_gen_mode
  echo 0 >/proc/sys/net/ipv6/conf/default/accept_ra
  echo 0 >/proc/sys/net/ipv6/conf/default/router_solicitations
  echo 1 >/proc/sys/net/ipv4/conf/all/promote_secondaries
`;

export function asList(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new TypeError("ip(8) gave no list");
  return value.filter((one) => Object.keys(one).length > 0);
}

/** What is at the end of these keys, undefined where there is nothing. */
export function path(value: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce<unknown>(
    (at, key) => (at instanceof Object ? Reflect.get(at, key) : undefined),
    value,
  );
}

/** `10.0.0.5/24` as the fields of an address. */
export function addressFields(text: string): { address: number; prefixLength: number } {
  const [address = "", length] = text.split("/");
  return { address: ip4(address), prefixLength: Number(length) };
}
