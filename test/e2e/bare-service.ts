/** The least that a service in Node can do: what MNM's services are measured against. */
import { readFileSync, writeFileSync } from "node:fs";
import { until } from "../lab/index.js";
import { type InstalledHost, monotonicMs } from "./installed.js";

const UNIT = "bare.service";
const SCRIPT = "/usr/lib/bare.js";
const TOLD = "/run/bare";

/** Started anew by systemd as MNM's are; says that it runs, and sleeps. */
export class BareService {
  readonly #host: InstalledHost;

  private constructor(host: InstalledHost) {
    this.#host = host;
  }

  static async start(host: InstalledHost): Promise<BareService> {
    const { system } = host;
    writeFileSync(
      system.path(SCRIPT),
      `require("fs").writeFileSync("${TOLD}", String(process.pid)); setInterval(() => {}, 1e9);`,
    );
    const lines = ["[Service]", `ExecStart=/usr/bin/node --jitless ${SCRIPT}`];
    lines.push("Restart=always", "RestartSec=20ms", "");
    writeFileSync(system.path(`/run/systemd/system/${UNIT}`), lines.join("\n"));
    await system.shell(
      `mkdir -p /run/systemd/system/${UNIT}.d
       printf '[Unit]\\nStartLimitIntervalSec=0\\n' >/run/systemd/system/${UNIT}.d/limit.conf
       systemctl daemon-reload; systemctl start ${UNIT}`,
    );
    const bare = new BareService(host);
    await bare.#toldSince("");
    return bare;
  }

  /** Kills it; gives how long it took until it ran again, in ms. */
  async kill(): Promise<number> {
    const told = this.#told();
    const killed = await this.#host.signal(UNIT, "KILL");
    await this.#toldSince(told);
    return monotonicMs() - killed;
  }

  #told(): string {
    try {
      return readFileSync(this.#host.system.path(TOLD), "utf8");
    } catch {
      return "";
    }
  }

  async #toldSince(told: string): Promise<void> {
    const isNew = () => !["", told].includes(this.#told());
    await until(isNew, { timeoutMs: 60_000, what: "the bare service back" });
  }
}
