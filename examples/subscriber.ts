/**
 * Follows the events of MNM, one line each, and misses none: when the controller goes away, it
 * subscribes again after the last event that it has processed.
 *
 *     npm run build && node examples/dist/subscriber.js
 *
 * MNM_SOCKET names another socket than /run/mnm/controller.sock. Anybody local may read.
 */
import { setTimeout as delay } from "node:timers/promises";
import { credentials, Metadata } from "@grpc/grpc-js";
import {
  EventKind,
  LinkState,
  NetworkManagerClient,
  type Position,
  type SubscribeResponse,
} from "@mnm/proto/network-manager";

const socket = process.env["MNM_SOCKET"] ?? "/run/mnm/controller.sock";
const client = new NetworkManagerClient(`unix:${socket}`, credentials.createInsecure(), {
  // grpc-js would wait a second before it connects again, and then ever longer.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
});

/** `UPLINK_USABLE` for 7. */
const kindNames = new Map<number, string>(Object.entries(EventKind).map(([k, n]) => [n, k]));
const stateNames = new Map<number, string>(Object.entries(LinkState).map(([k, n]) => [n, k]));

/** The last event that was processed, so that the next stream begins right after it. */
let position: Position | undefined;

for (;;) {
  const request = { links: [], kinds: [], noSnapshot: false, heartbeatMs: 0 };
  // Waits for a controller that has not started yet, or not again.
  const metadata = new Metadata({ waitForReady: true });
  const stream: AsyncIterable<SubscribeResponse> = client.subscribe(
    { ...request, resumeAfter: position },
    metadata,
  );
  try {
    for await (const response of stream) show(response);
  } catch (error) {
    console.error(`the stream ended: ${error instanceof Error ? error.message : error}`);
  }
  await delay(100);
}

/** Shows an item, and only then remembers it as processed. */
function show({ item }: SubscribeResponse): void {
  switch (item?.$case) {
    case "link":
      console.log(`link ${item.value.name}: ${stateNames.get(item.value.state)}`);
      break;
    case "event": {
      const { instance, sequence, kind, link, text } = item.value;
      console.log(`#${sequence} ${kindNames.get(kind) ?? kind} ${link?.name ?? "-"}: ${text}`);
      position = { instance, sequence };
      break;
    }
    case "synced":
    case "heartbeat":
      // A program that only wants the state may begin to use it at `synced`.
      position = item.value;
      break;
    case "reset":
      // A restarted controller knows nothing of our position; a snapshot follows.
      console.log(`reset: ${item.value.text}`);
      break;
    case undefined:
      // A newer controller may send items that this program does not know.
      break;
  }
}
