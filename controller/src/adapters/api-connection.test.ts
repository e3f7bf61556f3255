import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, connect } from "node:http2";
import { Socket } from "node:net";
import { mock, type TestContext, test } from "node:test";
import { type Server, status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { NetworkManagerService } from "@mnm/proto/network-manager";
import { Admission, type Excess } from "./admission.js";
import { ApiConnection } from "./api-connection.js";
import {
  ALLOWANCES,
  FIRST_CALL_MS,
  GRACE_MS,
  IDLE_MS,
  REFUSED_MS,
  UNARY_MS,
} from "./api-limits.js";
import type { Role } from "./peer-role.js";
import { connectedPair } from "./sys.js";

// Once for all tests: what one of them leaves behind may clear a timer when the next has begun.
mock.timers.enable({ apis: ["setTimeout"] });

type Respond = (error: null, response: object) => void;

/** Methods that answer nothing; the test does, when it likes. */
function addSilentServices(server: Server, waiting: Respond[]): void {
  const service: UntypedServiceImplementation = {};
  for (const method of Object.keys(NetworkManagerService)) {
    service[method] = (_: unknown, respond?: Respond) => {
      if (respond !== undefined) waiting.push(respond);
    };
  }
  server.addService(NetworkManagerService, service);
}

/** Not by `once`, for which an error on the way is a failure. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
  });
}

/** One connection whose timers the test moves, and a client that speaks HTTP/2 and knows no gRPC. */
class Bench {
  readonly client: ClientHttp2Session;
  readonly peer: Socket;
  readonly served: Socket;
  readonly excesses: string[] = [];
  /** Calls that nobody answers until the test does. */
  readonly waiting: Respond[] = [];

  constructor(
    t: TestContext,
    { role = "reader", visits = 0 }: { role?: Role; visits?: number } = {},
  ) {
    const pair = connectedPair();
    assert.ok(pair.ok);
    this.served = new Socket({ fd: pair.value[0] });
    this.peer = new Socket({ fd: pair.value[1] });
    const clock = { ms: 0 };
    const admission = new Admission({ nowMs: () => clock.ms });
    for (let n = 0; n < visits; n += 1) {
      clock.ms += 1_000;
      admission.connect({ uid: 1_000, role });
    }
    const { visit } = admission.connect({ uid: 1_000, role });
    assert.ok(visit);
    new ApiConnection(this.served, {
      visit,
      links: () => 1,
      onExcess: (of: Excess["of"] | "bytes") => this.excesses.push(of),
      addServices: (server) => addSilentServices(server, this.waiting),
    });
    this.client = connect("http://localhost", { createConnection: () => this.peer });
    this.client.on("error", () => undefined);
    t.after(async () => {
      this.client.destroy();
      this.served.destroy();
      await closed(this.served);
    });
  }

  /** The first headers of the answer, once the call is over; undefined when there were none. */
  call(method: string): Promise<Record<string, unknown> | undefined> {
    const stream = this.client.request({
      ":method": "POST",
      ":path": `/mnm.v1.NetworkManager/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    let headers: Record<string, unknown> | undefined;
    stream.on("response", (received) => {
      headers = received;
    });
    stream.on("error", () => undefined);
    stream.resume();
    stream.end(Buffer.alloc(5));
    return new Promise((resolve) => stream.once("close", () => resolve(headers)));
  }
}

/** Until what was sent has been read, and what was read has been looked at. */
async function settled({ client }: Bench): Promise<void> {
  if (client.connecting) await once(client, "connect");
  for (let n = 0; n < 3; n += 1) {
    await new Promise<void>((resolve) => client.ping(() => resolve()));
  }
}

test("a connection that makes no call is closed", async (t) => {
  const bench = new Bench(t);
  await once(bench.client, "connect");
  mock.timers.tick(FIRST_CALL_MS - 1);
  assert.equal(bench.served.destroyed, false);
  mock.timers.tick(1);
  mock.timers.tick(GRACE_MS);
  await closed(bench.served);
});

test("a client that is told to go away has time to read it", async (t) => {
  const bench = new Bench(t, { role: "owner" });
  await once(bench.client, "remoteSettings");
  mock.timers.tick(FIRST_CALL_MS);
  const [code] = await once(bench.client, "goaway");
  assert.equal(code, 0);
});

test("one that said nothing at all, and does not read, is closed too", async () => {
  const pair = connectedPair();
  assert.ok(pair.ok);
  const [served, peer] = pair.value.map((fd) => new Socket({ fd }));
  assert.ok(served && peer);
  const admission = new Admission({ nowMs: () => 0 });
  const { visit } = admission.connect({ uid: 1_000, role: "reader" });
  assert.ok(visit);
  const addServices = () => assert.fail("Nothing is made for one that says nothing");
  new ApiConnection(served, { visit, links: () => 1, onExcess: assert.fail, addServices });
  mock.timers.tick(FIRST_CALL_MS);
  mock.timers.tick(GRACE_MS);
  await closed(served);
  peer.destroy();
});

test("after a call it may be idle for longer, and then is closed", async (t) => {
  const bench = new Bench(t);
  const answer = bench.call("GetStatus");
  await settled(bench);
  assert.equal(bench.waiting.length, 1);
  bench.waiting[0]?.(null, { status: undefined });
  assert.equal((await answer)?.[":status"], 200);
  await settled(bench);
  mock.timers.tick(IDLE_MS - 1);
  assert.equal(bench.served.destroyed, false);
  mock.timers.tick(1);
  mock.timers.tick(GRACE_MS);
  await closed(bench.served);
});

test("a subscription keeps it open, however long nothing happens", async (t) => {
  const bench = new Bench(t);
  void bench.call("Subscribe");
  await settled(bench);
  mock.timers.tick(FIRST_CALL_MS + IDLE_MS + UNARY_MS + GRACE_MS);
  await settled(bench);
  assert.equal(bench.served.destroyed, false);
});

test("a call that is no stream is over in time, or cut", async (t) => {
  const bench = new Bench(t);
  const answer = bench.call("GetStatus");
  await settled(bench);
  mock.timers.tick(UNARY_MS);
  assert.equal(await answer, undefined);
});

/** A string of RFC 7541 §5.2, shorter than 127 bytes. */
const text = (value: string) => [value.length, ...Buffer.from(value)];

/** A frame of HTTP/2, RFC 9113 §4.1. */
function frame(type: number, flags: number, stream: number, payload: readonly number[]): Buffer {
  const head = [0, payload.length >> 8, payload.length & 255, type, flags, 0, 0, 0, stream];
  return Buffer.from([...head, ...payload]);
}

test("calls that are reset at once are over", async () => {
  const pair = connectedPair();
  assert.ok(pair.ok);
  const [served, peer] = [new Socket({ fd: pair.value[0] }), new Socket({ fd: pair.value[1] })];
  const admission = new Admission({ nowMs: () => 0 });
  const { visit } = admission.connect({ uid: 1_000, role: "reader" });
  assert.ok(visit);
  let begun = 0;
  let ended = 0;
  const beginCall = visit.beginCall.bind(visit);
  const endCall = visit.endCall.bind(visit);
  visit.beginCall = (links) => {
    begun += 1;
    return beginCall(links);
  };
  visit.endCall = () => {
    ended += 1;
    endCall();
  };
  new ApiConnection(served, {
    visit,
    links: () => 1,
    onExcess: assert.fail,
    addServices: (server) => addSilentServices(server, []),
  });
  const fields = {
    ":method": "POST",
    ":scheme": "http",
    ":authority": "localhost",
    ":path": "/mnm.v1.NetworkManager/Subscribe",
    "content-type": "application/grpc",
  };
  const block = Object.entries(fields).flatMap(([name, value]) => [
    0,
    ...text(name),
    ...text(value),
  ]);
  const streams = Array.from({ length: 20 }, (_, n) => 2 * n + 1);
  const calls = streams.flatMap((id) => [frame(1, 4, id, block), frame(3, 0, id, [0, 0, 0, 8])]);
  peer.write(
    Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0, []), ...calls]),
  );
  peer.resume();
  // Far more turns than it takes, so that it fails instead of hanging.
  for (let turns = 0; turns < 10_000 && ended < streams.length; turns += 1) {
    await new Promise((go) => setImmediate(go));
  }
  assert.deepEqual({ begun, ended }, { begun: streams.length, ended: streams.length });
  peer.destroy();
  await closed(served);
});

test("one that was refused is told why, and has to go", async (t) => {
  const bench = new Bench(t, { visits: ALLOWANCES.reader.each.connections });
  const headers = await bench.call("GetStatus");
  assert.equal(headers?.["grpc-status"], String(status.RESOURCE_EXHAUSTED));
  assert.match(
    decodeURIComponent(String(headers?.["grpc-message"])),
    /too many connections of user 1000/,
  );
  mock.timers.tick(REFUSED_MS);
  mock.timers.tick(GRACE_MS);
  await closed(bench.served);
});

test("one that sends more than it may is cut", async (t) => {
  const bench = new Bench(t);
  await settled(bench);
  bench.peer.on("error", () => undefined);
  const stream = bench.client.request({
    ":method": "POST",
    ":path": "/mnm.v1.NetworkManager/GetStatus",
    "content-type": "application/grpc",
  });
  stream.on("error", () => undefined);
  stream.write(Buffer.alloc(60_000));
  await closed(bench.served);
  assert.deepEqual(bench.excesses, ["bytes"]);
});
