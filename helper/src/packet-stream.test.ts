import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { describe, test } from "node:test";
import { type ServerWritableStream, status } from "@grpc/grpc-js";
import { LinkLimit } from "@mnm/proto/net";
import { CallError } from "./call-error.js";
import { PacketStream } from "./packet-stream.js";

interface Packet {
  readonly ifindex: number;
}

/** The part of a call that the stream uses; the peer reads nothing by itself. */
class SlowCall extends EventEmitter {
  writableLength = 0;
  metadata = 0;

  write(): void {
    this.writableLength += 1;
  }

  sendMetadata(): void {
    this.metadata += 1;
  }

  get asCall(): ServerWritableStream<unknown, Packet> {
    return this as unknown as ServerWritableStream<unknown, Packet>;
  }
}

const streamOf = (limits = { perSecond: 1, burst: 10_000 }) =>
  new PacketStream<Packet>(new LinkLimit(() => 0, limits));

describe("PacketStream", () => {
  test("drops what nobody reads", () => {
    assert.equal(streamOf().write({ ifindex: 1 }), "nobody reads the stream");
  });

  test("lets 256 packets wait for a slow peer, and goes on when it has read", () => {
    const stream = streamOf();
    const call = new SlowCall();
    stream.open(call.asCall);
    const written = Array.from({ length: 1000 }, () => stream.write({ ifindex: 1 }));
    assert.equal(written.filter((reason) => reason === undefined).length, 256);
    assert.equal(call.writableLength, 256);
    assert.equal(written.at(-1), "nobody reads the stream");
    call.writableLength = 255;
    assert.equal(stream.write({ ifindex: 1 }), undefined);
  });

  test("answers at once, and refuses a second stream until the first has ended", () => {
    const stream = streamOf();
    const first = new SlowCall();
    stream.open(first.asCall);
    assert.equal(first.metadata, 1);
    const second = new SlowCall();
    const isRefusal = (cause: unknown) =>
      cause instanceof CallError && cause.code === status.ALREADY_EXISTS;
    assert.throws(() => stream.open(second.asCall), isRefusal);
    assert.equal(second.metadata, 0);
    first.emit("cancelled");
    stream.open(second.asCall);
    assert.equal(stream.write({ ifindex: 1 }), undefined);
    assert.deepEqual([first.writableLength, second.writableLength], [0, 1]);
  });

  test("limits each link on its own", () => {
    const stream = streamOf({ perSecond: 50, burst: 2 });
    stream.open(new SlowCall().asCall);
    const of = (ifindex: number) => stream.write({ ifindex });
    assert.deepEqual(
      [of(1), of(1), of(1), of(2)],
      [undefined, undefined, "too many a second", undefined],
    );
  });
});
