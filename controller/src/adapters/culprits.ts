import { readdirSync, readFileSync } from "node:fs";
import { type Culprit, NETWORK_MANAGERS } from "../engine/index.js";

export interface CulpritsOptions {
  /** Where procfs is mounted. */
  readonly proc?: string;
  readonly now?: () => number;
}

/** The list of processes is not read more often: whoever flushes all rules starts many fights at once. */
const LIST_AGE_MS = 5_000;

const SYSTEMD = 1;

/** PID_MAX_LIMIT, linux/threads.h. */
const LAST_PID = 4_194_304;

/** TASK_COMM_LEN: names of processes are cut to 15 bytes. */
const COMM_LENGTH = 15;

/**
 * Finds out who asked the kernel for a change, by what any process may read.
 *
 * The kernel gives a process' first netlink socket the process' id as its port (netlink_autobind), and
 * others a number beyond all ids. So the port in a notification mostly leads to its sender, as long as
 * that runs. It is a hint: the id may be of another PID namespace, and a socket may have been
 * handed over.
 */
export class Culprits {
  readonly #proc: string;
  readonly #now: () => number;
  #running: { readonly at: number; readonly names: readonly string[] } | undefined;

  constructor({ proc = "/proc", now = () => performance.now() }: CulpritsOptions = {}) {
    this.#proc = proc;
    this.#now = now;
  }

  /** @param requester the port in the notification; undefined when there was none */
  of(requester: number | undefined): Culprit {
    const suspects = this.#suspects();
    // Systemd opens sockets for others, such as systemd-networkd, and they keep its port.
    if (requester === undefined || requester === SYSTEMD) return { kind: "unknown", suspects };
    const name = requester <= LAST_PID ? this.#nameOf(String(requester)) : undefined;
    if (name !== undefined) return { kind: "program", name, pid: requester };
    return { kind: this.#isOpen(requester) ? "unknown" : "short-lived", suspects };
  }

  /** Undefined for one that is gone, and for threads of the kernel, which have no command line. */
  #nameOf(pid: string): string | undefined {
    if (this.#read(`${pid}/cmdline`) === "") return undefined;
    // Anybody may call a process anything.
    const comm = this.#read(`${pid}/comm`)
      .trimEnd()
      .replace(/[^\x20-\x7e]/g, "?");
    if (comm === "") return undefined;
    return [...NETWORK_MANAGERS].find((name) => name.slice(0, COMM_LENGTH) === comm) ?? comm;
  }

  #suspects(): readonly string[] {
    const at = this.#now();
    if (this.#running === undefined || at - this.#running.at > LIST_AGE_MS) {
      this.#running = { at, names: this.#runningManagers() };
    }
    return this.#running.names;
  }

  #runningManagers(): readonly string[] {
    const names = this.#processes().flatMap((pid) => this.#nameOf(pid) ?? []);
    return [...NETWORK_MANAGERS].filter((name) => names.includes(name));
  }

  #processes(): readonly string[] {
    try {
      return readdirSync(this.#proc).filter((name) => /^\d+$/.test(name));
    } catch {
      return [];
    }
  }

  /** Whether a rtnetlink socket of this network namespace has the port. */
  #isOpen(port: number): boolean {
    const lines = this.#read("self/net/netlink").split("\n");
    return lines.some((line) => {
      const [, protocol, owner] = line.trim().split(/\s+/);
      return protocol === "0" && owner === String(port);
    });
  }

  #read(path: string): string {
    try {
      return readFileSync(`${this.#proc}/${path}`, "utf8");
    } catch {
      // It ended, or procfs does not show it to us.
      return "";
    }
  }
}
