// Part of the probe: a stream of ICMP echo requests. iputils' ping will not do, because it does not
// count a request that the kernel refuses to send (ENOBUFS on a link without carrier, no route):
// a gap of 100 ms then reads as "0% packet loss".
import { createSocket, type Socket } from "node:dgram";
import type { PingCount } from "./probe.js";

const ECHO_REQUEST = 8;
const ECHO_REPLY = 0;
const HEADER_LENGTH = 8;
/** How long the last requests have to come back after the stream was stopped. */
const GRACE_MS = 500;

export class PingSender {
  readonly #socket: Socket = createSocket("udp4");
  readonly #to: string;
  readonly #unanswered = new Set<number>();
  readonly #timer: NodeJS.Timeout;
  #sent = 0;
  #answeredAt: number | undefined;
  #longestGapMs = 0;
  #answered: () => void = () => undefined;

  /** `fd` is an ICMP datagram socket, icmp(7): the kernel fills identifier and checksum. */
  constructor(options: { readonly fd: number; readonly to: string; readonly intervalMs: number }) {
    this.#to = options.to;
    // Errors of earlier requests, as ICMP unreachable; those requests stay unanswered.
    this.#socket.on("error", () => undefined);
    this.#socket.on("message", (message) => this.#receive(message));
    this.#socket.bind({ fd: options.fd });
    this.#timer = setInterval(() => this.#send(), options.intervalMs);
    this.#send();
  }

  /** Resolves with the first answer; false when none comes in time. */
  started(timeoutMs: number): Promise<boolean> {
    if (this.#answeredAt !== undefined) return Promise.resolve(true);
    return this.#next(timeoutMs);
  }

  /** Ends the stream and counts, once the last answers had their time. */
  async stop(): Promise<PingCount> {
    clearInterval(this.#timer);
    const end = performance.now() + GRACE_MS;
    while (this.#unanswered.size > 0 && performance.now() < end) {
      await this.#next(end - performance.now());
    }
    this.#socket.close();
    const lost = this.#unanswered.size;
    const longestGapMs = Math.round(this.#longestGapMs);
    return { sent: this.#sent, received: this.#sent - lost, lost, longestGapMs };
  }

  #send(): void {
    const request = Buffer.alloc(HEADER_LENGTH + 4);
    request[0] = ECHO_REQUEST;
    request.writeUInt16BE(this.#sent & 0xffff, 6);
    // The header's sequence number wraps after some minutes; this one does not.
    request.writeUInt32BE(this.#sent, HEADER_LENGTH);
    this.#unanswered.add(this.#sent);
    this.#sent += 1;
    // The port means nothing to ICMP, but Node wants one. A refusal is a loss: see above.
    this.#socket.send(request, 7, this.#to, () => undefined);
  }

  #receive(message: Buffer): void {
    if (message[0] !== ECHO_REPLY || message.length < HEADER_LENGTH + 4) return;
    if (!this.#unanswered.delete(message.readUInt32BE(HEADER_LENGTH))) return;
    const now = performance.now();
    this.#longestGapMs = Math.max(this.#longestGapMs, now - (this.#answeredAt ?? now));
    this.#answeredAt = now;
    this.#answered();
  }

  #next(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      this.#answered = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }
}
