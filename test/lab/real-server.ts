import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Namespace } from "./namespace.js";
import type { Program } from "./program.js";

/** DHCP servers that people run: dnsmasq, isc-dhcp-server and kea-dhcp4-server. */
export type ServerKind = "dnsmasq" | "isc" | "kea";

/** What a server gives out. */
export interface ServerTerms {
  /** The first three octets of the /24 that the addresses are of. */
  readonly net: string;
  /** First and last host number. */
  readonly pool: readonly [number, number];
  readonly gateway: string;
  /** dnsmasq has no lease below 120 s. */
  readonly leaseSec: number;
  /** What dnsmasq sends is up to an eighth less. */
  readonly t1Sec: number;
  readonly t2Sec: number;
  /** More in the server's own language: lines of dnsmasq's file, statements of dhcpd's subnet. */
  readonly extra?: readonly string[];
}

interface Files {
  readonly config: string;
  readonly database: string;
  readonly directory: string;
}

interface Recipe {
  readonly config: (terms: ServerTerms, files: Files, linkNet: string) => string;
  readonly command: (files: Files) => readonly string[];
  /** What its log says once it answers. */
  readonly ready: RegExp;
  /** A lease database in which this address is another host's, and nothing else. */
  readonly taken: (address: string) => string;
  /** The addresses that a MAC has, by the text of the lease database. */
  readonly leased: (database: string, mac: string) => readonly string[];
}

/** A host that is not there, whose leases never end. */
const OTHER_MAC = "02:00:00:00:ff:ff";

/** The link that every server of the lab serves. */
const LINK = "lan";

/** A real DHCP server on the link `lan` of a namespace, all its files in the lab's directory. */
export class RealServer {
  readonly kind: ServerKind;
  readonly #namespace: Namespace;
  readonly #files: Files;
  #program: Program | undefined;

  constructor(options: {
    readonly kind: ServerKind;
    readonly namespace: Namespace;
    /** The lab's. */
    readonly directory: string;
  }) {
    this.kind = options.kind;
    this.#namespace = options.namespace;
    const directory = `${options.directory}/${options.namespace.name}-${options.kind}`;
    mkdirSync(directory);
    this.#files = {
      directory,
      config: `${directory}/server.conf`,
      database: `${directory}/leases`,
    };
  }

  /**
   * Starts it with these terms; it remembers the leases of its last run. `linkNet` is the server's
   * own /24, other than what it gives out when it is behind a relay.
   */
  async start(terms: ServerTerms, linkNet = terms.net): Promise<void> {
    const recipe = RECIPES[this.kind];
    const files = this.#files;
    writeFileSync(files.config, recipe.config(terms, files, linkNet));
    if (!existsSync(files.database)) writeFileSync(files.database, "");
    const env = {
      ...process.env,
      // Where Kea keeps what other programs take options for.
      KEA_PIDFILE_DIR: files.directory,
      KEA_LOCKFILE_DIR: files.directory,
    };
    const name = `${this.#namespace.name}-${this.kind}`;
    this.#program = this.#namespace.start(name, recipe.command(files), env);
    await this.#program.waitForLog(recipe.ready);
  }

  /** As a server that dies: it says goodbye to nobody. */
  async stop(): Promise<void> {
    await this.#program?.stop("SIGKILL");
    this.#program = undefined;
    // A killed server leaves its pid file; the pid may be another process's by the next start.
    rmSync(`${this.#files.directory}/server.kea-dhcp4.pid`, { force: true });
  }

  /** Makes a stopped server forget all of its leases, and lease this address to another host. */
  giveAway(address: string): void {
    rmSync(this.#files.directory, { recursive: true });
    mkdirSync(this.#files.directory);
    writeFileSync(this.#files.database, RECIPES[this.kind].taken(address));
  }

  /** The addresses that its lease database holds for a MAC. */
  leased(mac: string): readonly string[] {
    return RECIPES[this.kind].leased(readFileSync(this.#files.database, "utf8"), mac);
  }

  get log(): string {
    return this.#program?.log() ?? "";
  }
}

const RECIPES: Readonly<Record<ServerKind, Recipe>> = {
  dnsmasq: {
    config: ({ net, pool, gateway, leaseSec, t1Sec, t2Sec, extra = [] }, { database }) =>
      [
        "port=0",
        `interface=${LINK}`,
        // Its check whether an address is taken costs 3 s.
        "no-ping",
        "log-dhcp",
        "dhcp-authoritative",
        `dhcp-leasefile=${database}`,
        `dhcp-range=${net}.${pool[0]},${net}.${pool[1]},255.255.255.0,${leaseSec}`,
        `dhcp-option=option:router,${gateway}`,
        `dhcp-option=option:T1,${t1Sec}`,
        `dhcp-option=option:T2,${t2Sec}`,
        ...extra,
        "",
      ].join("\n"),
    // In the foreground, which also keeps it from changing its user.
    command: ({ config }) => ["dnsmasq", "--no-daemon", `--conf-file=${config}`, "--pid-file="],
    ready: /DHCP, IP range/,
    // Expiry, 0 for never; MAC, address, name, client identifier.
    taken: (address) => `0 ${OTHER_MAC} ${address} other *\n`,
    // A lease that ends is taken out.
    leased: (database, mac) =>
      database
        .split("\n")
        .map((line) => line.split(" "))
        .filter(([, owner]) => owner === mac)
        .flatMap(([, , address]) => address ?? []),
  },

  isc: {
    config: ({ net, pool, gateway, leaseSec, t1Sec, t2Sec, extra = [] }, _files, linkNet) =>
      [
        "authoritative;",
        "ping-check false;",
        // Off, or an early renewal gets only what is left of the lease.
        "dhcp-cache-threshold 0;",
        `default-lease-time ${leaseSec}; max-lease-time ${leaseSec}; min-lease-time ${leaseSec};`,
        `option dhcp-renewal-time ${t1Sec}; option dhcp-rebinding-time ${t2Sec};`,
        "shared-network all {",
        // dhcpd serves no link whose own prefix it is not told of.
        linkNet === net ? "" : `subnet ${linkNet}.0 netmask 255.255.255.0 { }`,
        `subnet ${net}.0 netmask 255.255.255.0 {`,
        `range ${net}.${pool[0]} ${net}.${pool[1]}; option routers ${gateway};`,
        ...extra,
        "} }",
        "",
      ].join("\n"),
    command: ({ config, database }) => [
      ...["dhcpd", "-4", "-f", "-d", "-cf", config, "-lf", database, "--no-pid", LINK],
    ],
    ready: /^Server starting service\./m,
    taken: (address) =>
      `lease ${address} {\n  starts epoch 1;\n  ends never;\n  binding state active;\n` +
      `  hardware ethernet ${OTHER_MAC};\n}\n`,
    // The last block of an address counts.
    leased: (database, mac) => {
      const last = new Map<string, string>();
      for (const [, address = "", body = ""] of database.matchAll(
        /^lease ([\d.]+) \{\n([^}]*)\}/gm,
      )) {
        last.set(address, body);
      }
      return [...last]
        .filter(([, body]) => /^ {2}binding state active;/m.test(body))
        .filter(([, body]) => body.includes(`hardware ethernet ${mac};`))
        .map(([address]) => address);
    },
  },

  kea: {
    config: ({ net, pool, gateway, leaseSec, t1Sec, t2Sec }, { database }) =>
      JSON.stringify({
        Dhcp4: {
          "interfaces-config": { interfaces: [LINK] },
          authoritative: true,
          "lease-database": { type: "memfile", persist: true, name: database, "lfc-interval": 0 },
          "valid-lifetime": leaseSec,
          "renew-timer": t1Sec,
          "rebind-timer": t2Sec,
          subnet4: [
            {
              subnet: `${net}.0/24`,
              interface: LINK,
              pools: [{ pool: `${net}.${pool[0]} - ${net}.${pool[1]}` }],
              "option-data": [{ name: "routers", data: gateway }],
            },
          ],
          loggers: [
            {
              name: "kea-dhcp4",
              severity: "DEBUG",
              debuglevel: 40,
              output_options: [{ output: "stdout", flush: true }],
            },
          ],
        },
      }),
    command: ({ config }) => ["kea-dhcp4", "-c", config],
    ready: /DHCP4_STARTED/,
    // It expires in 2100. Kea does not start with an empty file that lacks the first line.
    taken: (address) =>
      "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n" +
      `${address},${OTHER_MAC},,4294967294,4102444800,1,0,0,,0,\n`,
    // The last row of an address counts; one that was given back has no lifetime left.
    leased: (database, mac) => {
      const last = new Map<string, readonly string[]>();
      for (const line of database.split("\n")) {
        const fields = line.split(",");
        last.set(fields[0] ?? "", fields);
      }
      return [...last]
        .filter(([, [, owner, , lifetime]]) => owner === mac && Number(lifetime) > 0)
        .map(([address]) => address);
    },
  },
};

/** isc-dhcp-relay between the link `lan` and a server beyond the link `far`. */
export async function startRelay(namespace: Namespace, server: string): Promise<Program> {
  const command = ["dhcrelay", "-4", "-d", "--no-pid", "-iu", "far", "-id", LINK, server];
  const relay = namespace.start(`${namespace.name}-relay`, command);
  await relay.waitForLog(/^Sending on +Socket\/fallback/m);
  return relay;
}
