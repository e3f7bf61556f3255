import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { UplinkNumbers } from "./addressing.js";
import type { DhcpServerConfig } from "./dhcp-server.js";
import type { Namespace } from "./namespace.js";
import type { Program } from "./program.js";

/** dnsmasq's shortest lease; it raises anything below without a word. */
export const DNSMASQ_SHORTEST_LEASE_SEC = 120;

/** "none": a test starts its own. */
export type DhcpServer = "dnsmasq" | "builtin" | "none";

export interface IspOptions {
  readonly numbers: UplinkNumbers;
  readonly namespace: Namespace;
  readonly directory: string;
  readonly dhcp: DhcpServer;
  readonly leaseSec: number;
}

/**
 * A home router or USB modem: a DHCP server and NAT towards the world, and a strict
 * reverse-path filter that drops what comes with another uplink's source address. Without that
 * filter a socket on the wrong uplink would get its answer and a test would see success.
 */
export class Isp {
  readonly index: number;
  readonly numbers: UplinkNumbers;
  readonly namespace: Namespace;
  readonly #options: IspOptions;
  readonly #leaseFile: string;
  #address: string;
  #dhcp: Program | undefined;

  constructor(options: IspOptions) {
    this.#options = options;
    this.numbers = options.numbers;
    this.index = options.numbers.index;
    this.namespace = options.namespace;
    this.#leaseFile = `${options.directory}/isp${this.index}.${options.dhcp}`;
    this.#address = options.numbers.address;
  }

  /** The address that its DHCP server gives out. */
  get address(): string {
    return this.#address;
  }

  /** The DHCP server, whose log tells each message. */
  get dhcp(): Program {
    if (this.#dhcp === undefined) throw new Error(`ISP ${this.index} has no DHCP server running`);
    return this.#dhcp;
  }

  /** Configures the namespace, whose links exist, and starts the DHCP server. */
  async start(): Promise<void> {
    const { inside, outside } = this.numbers;
    const settings = [
      // A new namespace inherits conf/all from the machine, and the filter uses the larger of
      // all and the link's: a machine's 2 would make strict loose.
      "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter",
      // Also for a lan that is created anew when its uplink was unplugged for good.
      "echo 1 >/proc/sys/net/ipv4/conf/default/rp_filter",
      "echo 1 >/proc/sys/net/ipv4/conf/lan/rp_filter",
      "echo 0 >/proc/sys/net/ipv4/conf/upl/rp_filter",
      "echo 1 >/proc/sys/net/ipv4/ip_forward",
      ...QUIET_IPV6,
    ];
    const links = [
      "link set lo up",
      ...this.lanCommands(),
      `addr add ${outside}/31 dev upl`,
      "link set upl up",
      `route add default via ${inside}`,
    ];
    const nat =
      "table ip nat { chain post { type nat hook postrouting priority 100; oifname upl masquerade; }; }";
    const script = [...settings, `ip -b - <<'EOF'\n${links.join("\n")}\nEOF`, `nft '${nat}'`];
    if (this.#options.dhcp === "none") {
      await this.namespace.shell(script.join("\n"));
      return;
    }
    this.#writeLease();
    // One process per ISP from here on: 128 of them have to fit.
    script.push('exec "$@"');
    const command = ["sh", "-euc", script.join("\n"), "sh", ...this.#serverCommand()];
    this.#dhcp = this.namespace.start(`isp${this.index}-dhcp`, command);
    const ready = this.#options.dhcp === "dnsmasq" ? /DHCP, static leases only/ : / is ready$/m;
    await this.#dhcp.waitForLog(ready);
  }

  /** Sets up the ISP's end of the uplink; the kernel forgets all of it with the link. */
  lanCommands(): readonly string[] {
    return [`addr add ${this.numbers.gateway}/24 dev lan`, ...this.lanUpCommands()];
  }

  /** As {@link lanCommands}, when the link only lost its carrier: routes went, addresses stayed. */
  lanUpCommands(): readonly string[] {
    const up = "link set lan up";
    return this.#options.dhcp === "builtin"
      ? [up, "route replace 255.255.255.255/32 dev lan"]
      : [up];
  }

  /** Gives out another address from now on; a client that renews the old one gets a NAK. */
  async moveTo(address: string): Promise<void> {
    const before = this.dhcp.log().length;
    this.#address = address;
    this.#writeLease();
    this.dhcp.signal("SIGHUP");
    const reread = () => this.dhcp.log().slice(before).includes(`read ${this.#leaseFile}`);
    await this.dhcp.ready(reread, "reading its leases again");
  }

  #serverCommand(): readonly string[] {
    const { dhcp, leaseSec } = this.#options;
    if (dhcp === "builtin") {
      const script = fileURLToPath(new URL("./dhcp-server.js", import.meta.url));
      return [process.execPath, script, this.#leaseFile];
    }
    return [
      "dnsmasq",
      // Also keeps it from changing its user and groups, which a user namespace may not allow.
      "--no-daemon",
      "--log-dhcp",
      "--conf-file=/dev/null",
      "--pid-file=",
      "--port=0",
      // --interface=lan would tie its socket to the link that is there now, and deafen it
      // when an uplink is removed and added again.
      "--except-interface=upl",
      "--except-interface=lo",
      `--dhcp-range=${this.numbers.net}.0,static,255.255.255.0,${leaseSec}`,
      `--dhcp-hostsfile=${this.#leaseFile}`,
      `--dhcp-option=option:router,${this.numbers.gateway}`,
      "--dhcp-authoritative",
      // Its check whether an address is taken costs 3 s.
      "--no-ping",
      "--leasefile-ro",
    ];
  }

  #writeLease(): void {
    const { mac, gateway } = this.numbers;
    const { dhcp, leaseSec } = this.#options;
    const config: DhcpServerConfig = { mac, address: this.#address, gateway, leaseSec };
    const text = dhcp === "builtin" ? JSON.stringify(config) : `${mac},${this.#address}\n`;
    writeFileSync(this.#leaseFile, text);
  }
}

/** Shell lines that turn IPv6 off where only the lab's own machinery lives. */
export const QUIET_IPV6: readonly string[] = [
  "for f in /proc/sys/net/ipv6/conf/all/disable_ipv6 /proc/sys/net/ipv6/conf/default/disable_ipv6",
  "do if [ -e $f ]; then echo 1 >$f; fi; done",
];
