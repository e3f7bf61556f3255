import { createConnection, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Random } from "../e2e/churn.js";
import { MALFORMED } from "../e2e/malformed.js";
import { clientOf, EventLog, statusOf } from "../e2e/scenario.js";
import type { Lab } from "../lab/index.js";

const MOST_SUBSCRIBERS = 20;

/** Those who connect to the sockets of both programs: subscribers, askers, and nonsense. */
export class Visitors {
  readonly #lab: Lab;
  readonly #random: Random;
  readonly #subscribers: (() => void)[] = [];
  readonly counts = { subscribers: 0, calls: 0, malformed: 0 };

  constructor(lab: Lab, random: Random) {
    this.#lab = lab;
    this.#random = random;
  }

  /** One of them comes or goes. */
  async visit(): Promise<void> {
    switch (this.#random(4)) {
      case 0:
        this.#subscribe();
        break;
      case 1:
        this.#subscribers.splice(this.#random(this.#subscribers.length + 1), 1)[0]?.();
        break;
      case 2:
        await this.#call();
        break;
      default:
        await this.#nonsense();
    }
  }

  /** Everybody leaves. */
  leave(): void {
    for (const end of this.#subscribers.splice(0)) end();
  }

  #subscribe(): void {
    if (this.#subscribers.length >= MOST_SUBSCRIBERS) return;
    this.counts.subscribers += 1;
    const client = clientOf(this.#lab);
    const log = new EventLog(client, {
      noSnapshot: this.#random(2) === 0,
      heartbeatMs: this.#random(2) * 1000,
    });
    this.#subscribers.push(() => {
      // Closing the client alone leaves the call and its connection open.
      log.close();
      client.close();
    });
  }

  async #call(): Promise<void> {
    this.counts.calls += 1;
    const client = clientOf(this.#lab);
    await statusOf(client).finally(() => client.close());
  }

  async #nonsense(): Promise<void> {
    this.counts.malformed += 1;
    const { controllerSocket, helperSocket } = this.#lab.launcher;
    const socket = createConnection(this.#random(4) === 0 ? helperSocket : controllerSocket);
    const opening = MALFORMED[this.#random(MALFORMED.length)];
    await new Promise<void>((resolve) => {
      socket.once("connect", resolve);
      socket.once("error", () => resolve());
    });
    socket.on("error", () => undefined);
    socket.resume();
    if (opening !== undefined) socket.write(opening.bytes);
    await delay(this.#random(30));
    leaveAs(this.#random(2) === 0 ? "a peer that ends" : "a peer that dies", socket);
  }
}

function leaveAs(manner: "a peer that ends" | "a peer that dies", socket: Socket): void {
  if (manner === "a peer that ends") socket.end();
  else socket.destroy();
}
