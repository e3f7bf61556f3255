/** A host on which MNM is installed as people install it: the package, by apt, run by systemd. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { credentials } from "@grpc/grpc-js";
import { HelperStatus_State, NetworkManagerClient, type Status } from "@mnm/proto/network-manager";
import { REPOSITORY } from "../lab/identity.js";
import { Lab, type LabOptions, until } from "../lab/index.js";
import { BootedSystem } from "../lab/nspawn.js";
import { must } from "../lab/run.js";
import { statusOf } from "./scenario.js";

export const CONTROLLER = "mnm-controller.service";
export const HELPER = "mnm-helper.service";
export const WAIT_ONLINE = "mnm-wait-online.service";

const CONFIG_FILE = "/etc/mnm/mnm.yaml";
/** The links of a lab are veths, which MNM manages only when told to. */
export const CONFIG = 'links:\n  "wan*": {}\n';

/** Builds the Debian package unless there is a fresh one; gives its file. */
export async function builtPackage(): Promise<string> {
  const script = `${REPOSITORY}/scripts/package/deb.mjs`;
  return (await must(process.execPath, [script, "--if-stale"])).trim();
}

/** The same package with another version, in `directory`. */
export async function asVersion(file: string, version: string, directory: string): Promise<string> {
  const tree = `${directory}/tree-${version}`;
  const other = `${directory}/mnm-${version}.deb`;
  await must("dpkg-deb", ["--raw-extract", file, tree]);
  const control = `${tree}/DEBIAN/control`;
  writeFileSync(
    control,
    readFileSync(control, "utf8").replace(/^Version:.*$/m, `Version: ${version}`),
  );
  await must("dpkg-deb", ["-Znone", "--root-owner-group", "--build", tree, other]);
  return other;
}

export class InstalledHost implements AsyncDisposable {
  readonly lab: Lab;
  readonly system: BootedSystem;
  readonly #client: NetworkManagerClient;

  private constructor(lab: Lab, system: BootedSystem) {
    this.lab = lab;
    this.system = system;
    const target = `unix:${system.path("/run/mnm/controller.sock")}`;
    this.#client = new NetworkManagerClient(target, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.initial_reconnect_backoff_ms": 20,
      "grpc.max_reconnect_backoff_ms": 20,
    });
  }

  /** Boots, installs the package, configures it for the lab's links, and waits until all are usable. */
  static async start(options: LabOptions): Promise<InstalledHost> {
    const file = await builtPackage();
    const lab = await Lab.create(options);
    try {
      const host = new InstalledHost(lab, await BootedSystem.boot(lab));
      await host.#provideNode();
      await host.install(file);
      await host.configure(CONFIG);
      await host.system.shell(`systemctl reload ${CONTROLLER}`);
      await host.system.shell(`systemctl enable ${WAIT_ONLINE}`);
      await host.online();
      return host;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** Installs or upgrades to a package file, without a network to fetch anything from. */
  async install(file: string): Promise<string> {
    copyFileSync(file, this.system.path("/mnm.deb"));
    return await this.system.shell("apt-get install -y /mnm.deb 2>&1");
  }

  async configure(text: string): Promise<void> {
    writeFileSync(this.system.path(CONFIG_FILE), text);
  }

  /** Waits until every uplink of the lab is usable. */
  async online(): Promise<void> {
    const names = this.lab.isps.map(({ index }) => this.lab.linkName(index));
    await this.system.shell(`mnmctl wait-online --timeout 60s ${names.join(" ")}`);
  }

  /** Undefined while nobody answers. */
  async status(): Promise<Status | undefined> {
    try {
      return await statusOf(this.#client);
    } catch {
      return undefined;
    }
  }

  /** Waits for a status; gives the time at which it was seen, in ms of CLOCK_MONOTONIC. */
  async when(what: string, isWanted: (status: Status | undefined) => boolean): Promise<number> {
    await until(async () => isWanted(await this.status()), { timeoutMs: 60_000, what });
    return monotonicMs();
  }

  /** Sends a signal to a service's main process; gives the time just before. */
  async signal(unit: string, signal: "KILL" | "STOP" | "SEGV"): Promise<number> {
    const at = monotonicMs();
    await this.system.shell(`systemctl kill --kill-whom=main --signal=${signal} ${unit}`);
    return at;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
    await this.system.close();
    await this.lab.close();
  }

  /** Where Node is no Debian package apt shall believe that it is one: it is there all the same. */
  async #provideNode(): Promise<void> {
    const known = await this.system.exec("dpkg-query", "--show", "nodejs");
    const version = known.stdout.trim().split("\t")[1] ?? "0";
    const { code } = await this.system.exec("dpkg", "--compare-versions", version, "ge", "20.19");
    if (code === 0) return;
    const tree = `${this.lab.directory}/nodejs`;
    mkdirSync(`${tree}/DEBIAN`, { recursive: true });
    const fields = [
      "Package: nodejs",
      `Version: ${process.versions.node}`,
      "Architecture: all",
      "Maintainer: nobody <nobody@example.org>",
      "Description: stands for a Node that is no package",
    ];
    writeFileSync(`${tree}/DEBIAN/control`, `${fields.join("\n")}\n`);
    const file = `${this.lab.directory}/nodejs.deb`;
    await must("dpkg-deb", ["-Znone", "--root-owner-group", "--build", tree, file]);
    copyFileSync(file, this.system.path("/nodejs.deb"));
    await this.system.shell("dpkg -i --force-downgrade /nodejs.deb");
  }
}

export function isHelperOk(status: Status | undefined): boolean {
  return status?.helper?.state === HelperStatus_State.OK;
}

/** As systemd's …TimestampMonotonic, in ms. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
