import { Socket } from "node:net";
import { connectedPair } from "./sys.js";

export interface Metering {
  /** Whether that many bytes may be read; when not, the connection is cut. */
  readonly take: (bytes: number) => boolean;
  /** Gets a socket in the peer's stead, with its first bytes: who says nothing costs nothing. */
  readonly serve: (socket: Socket) => void;
}

/**
 * Lets HTTP/2 read what a stranger sends as long as it is little enough.
 *
 * Node reads HTTP/2 natively, up to 2 MB of each connection at a time, and tells nobody: 16 peers that
 * sent WINDOW_UPDATE or PRIORITY frames as fast as they could held us up for 20 ms at a time, and for
 * up to 140 ms. A Duplex in between would do, but Node's wrapper of those fails assertions under load
 * (nodejs/node#35384), which would end us. So the bytes pass through a pair of sockets of our own. For
 * 100 subscribers that is 1 ms of CPU more for each event, which is why those that we trust are spared.
 */
export function meter(peer: Socket, { take, serve }: Metering): void {
  let outer: Socket | undefined;
  peer.on("data", (bytes: Buffer) => {
    if (!take(bytes.length)) {
      peer.destroy();
      return;
    }
    outer ??= begin(peer, serve);
    if (outer?.write(bytes) === false) peer.pause();
  });
}

function begin(peer: Socket, serve: Metering["serve"]): Socket | undefined {
  const pair = connectedPair();
  if (!pair.ok) {
    peer.destroy();
    return undefined;
  }
  const [outer, inner] = [new Socket({ fd: pair.value[0] }), new Socket({ fd: pair.value[1] })];
  outer.pipe(peer);
  outer.on("drain", () => peer.resume());
  // Whatever HTTP/2 makes of a malformed session, all ends are ours to close.
  // What is written to an end that has gone is an error, and one that nobody hears would end us.
  outer.on("error", () => peer.destroy());
  inner.on("error", () => peer.destroy());
  outer.on("close", () => peer.destroySoon());
  peer.on("end", () => outer.end());
  peer.on("close", () => {
    outer.destroy();
    inner.destroy();
  });
  serve(inner);
  return outer;
}
