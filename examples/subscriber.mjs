/**
 * The same as subscriber.ts without generated code: reads the .proto file when it starts, so that
 * a plain JavaScript program needs no build.
 *
 *     npm install @grpc/grpc-js @grpc/proto-loader
 *     node examples/subscriber.mjs
 *
 * MNM_SOCKET names another socket than /run/mnm/controller.sock. Anybody local may read.
 */
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { credentials, loadPackageDefinition, Metadata } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const file = fileURLToPath(new URL("../proto/mnm/v1/network_manager.proto", import.meta.url));
// Enums by name; 64-bit numbers as strings, because JavaScript's numbers end at 2^53; and `item`
// says which one of the oneof is set.
const options = { enums: String, longs: String, defaults: true, oneofs: true };
const { NetworkManager } = loadPackageDefinition(loadSync(file, options)).mnm.v1;

const socket = process.env.MNM_SOCKET ?? "/run/mnm/controller.sock";
const client = new NetworkManager(`unix:${socket}`, credentials.createInsecure(), {
  // grpc-js would wait a second before it connects again, and then ever longer.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
});

/** The last event that was processed, so that the next stream begins right after it. */
let resumeAfter;

for (;;) {
  // Waits for a controller that has not started yet, or not again.
  const stream = client.subscribe({ resumeAfter }, new Metadata({ waitForReady: true }));
  try {
    for await (const response of stream) show(response);
  } catch (error) {
    console.error(`the stream ended: ${error.message}`);
  }
  await delay(100);
}

/** Shows an item, and only then remembers it as processed. */
function show(response) {
  switch (response.item) {
    case "link":
      console.log(`link ${response.link.name}: ${response.link.state}`);
      break;
    case "event": {
      const { instance, sequence, kind, link, text } = response.event;
      console.log(`#${sequence} ${kind} ${link?.name ?? "-"}: ${text}`);
      resumeAfter = { instance, sequence };
      break;
    }
    case "synced":
    case "heartbeat":
      // A program that only wants the state may begin to use it at `synced`.
      resumeAfter = response[response.item];
      break;
    case "reset":
      // A restarted controller knows nothing of our position; a snapshot follows.
      console.log(`reset: ${response.reset.text}`);
      break;
  }
}
