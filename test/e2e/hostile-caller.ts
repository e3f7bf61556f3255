// The hostile controller: a program under the controller's uid, which does to the helper's socket
// what its parent says, and tells what came of it.
import net from "node:net";
import {
  credentials,
  type Client as GrpcClient,
  Metadata,
  makeGenericClientConstructor,
} from "@grpc/grpc-js";
import { assertNever } from "@mnm/proto/net";
import { randomFrom } from "./churn.js";
import type { Answer, Order } from "./hostile-controller.js";
import { makeSession, type Session } from "./hostile-sessions.js";

const path = process.argv[2] ?? "";
const Client = makeGenericClientConstructor({}, "hostile");
const raw = (bytes: Buffer): Buffer => bytes;
const clients = new Map<number, GrpcClient>();

function clientOf(number: number, compresses: boolean): GrpcClient {
  const options = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_metadata_size": 8 << 20,
    "grpc.default_compression_algorithm": compresses ? GZIP : 0,
  };
  const known = clients.get(number);
  const client = known ?? new Client(`unix:${path}`, credentials.createInsecure(), options);
  clients.set(number, client);
  return client;
}

function call(order: Extract<Order, { kind: "call" }>, done: (answer: Answer) => void): void {
  const metadata = new Metadata();
  // In pieces, as the library does not send one of that size.
  for (let left = order.metadataBytes; left > 0; left -= PIECE)
    metadata.add("x-much", "m".repeat(PIECE));
  const client = clientOf(order.client, order.compresses);
  const call = client.makeUnaryRequest(
    order.path,
    raw,
    raw,
    order.message,
    metadata,
    (error, message) => {
      const { code = 0, details = "" } = error ?? {};
      done({ id: order.id, code, details, message: message ?? Buffer.alloc(0) });
    },
  );
  if (order.cancels) call.cancel();
}

/** Sessions at random, a few at a time: the helper closes the oldest when too many say nothing. */
async function attack({
  count,
  seed,
  saysHello,
}: Extract<Order, { kind: "sessions" }>): Promise<void> {
  const random = randomFrom(seed);
  const sessions = Array.from({ length: count }, () => makeSession(random, saysHello)).values();
  const open: net.Socket[] = [];
  const worker = async () => {
    for (const session of sessions) await play(session, open);
  };
  await Promise.all(Array.from({ length: WIDTH }, worker));
  for (const socket of open) socket.destroy();
}

/** Resolves when the session is over, or for one that stays open, when all of it is sent. */
async function play({ bytes, staysOpen }: Session, open: net.Socket[]): Promise<void> {
  const socket = net.connect(path).on("error", () => {});
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const sent = new Promise((resolve) => socket.write(bytes, resolve));
  await Promise.race([sent, closed]);
  if (staysOpen) {
    open.push(socket);
    if (open.length > WIDTH) open.shift()?.destroy();
    return;
  }
  // Until it is read: what the helper did not read yet would go with the socket.
  const answered = new Promise((resolve) => socket.once("data", resolve));
  socket.end();
  await Promise.race([answered, closed]);
  socket.destroy();
}

async function connect({ count }: Extract<Order, { kind: "connects" }>): Promise<void> {
  const numbers = Array.from({ length: count }, (_, at) => at).values();
  const worker = async () => {
    for (const _ of numbers) {
      const socket = net.connect(path).on("error", () => {});
      await new Promise((resolve) => socket.once("connect", resolve).once("close", resolve));
      socket.destroy();
    }
  };
  await Promise.all(Array.from({ length: WIDTH }, worker));
}

async function exchange(bytes: Buffer): Promise<Buffer> {
  const socket = net.connect(path).on("error", () => {});
  const received: Buffer[] = [];
  socket.on("data", (data) => received.push(data));
  socket.write(bytes);
  await new Promise((resolve) => socket.once("close", resolve));
  return Buffer.concat(received);
}

process.on("message", (order: Order) => {
  const answer = (given: Answer) => process.send?.(given);
  const done = (message: Buffer = Buffer.alloc(0)) =>
    answer({ id: order.id, code: 0, details: "", message });
  switch (order.kind) {
    case "call":
      return call(order, answer);
    case "sessions":
      return void attack(order).then(() => done());
    case "connects":
      return void connect(order).then(() => done());
    case "exchange":
      return void exchange(order.message).then(done);
    default:
      return assertNever(order);
  }
});

const GZIP = 2;
const PIECE = 8192;
const WIDTH = 6;
