import assert from "node:assert/strict";
import http2 from "node:http2";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import { type ClientDuplexStream, status } from "@grpc/grpc-js";
import {
  ClosePacketsRequest,
  HelloRequest,
  type HelperClient,
  PerformRequest,
  type PerformResponse,
  RouteType,
} from "@mnm/proto/helper";
import { HelperRig, outcomeOf, prefix4, until } from "./helper-rig.js";

type Stream = ClientDuplexStream<PerformRequest, PerformResponse>;
type Command = PerformRequest["command"];

const rig = new HelperRig();
before(() => rig.start("--peer-uid", String(process.getuid?.())));
after(() => rig.close());

function open(client: HelperClient): Stream {
  const stream = client.perform();
  stream.on("error", () => {});
  return stream;
}

/** Writes all commands at once; gives as many answers. */
async function perform(stream: Stream, commands: readonly Command[]) {
  const answers: PerformResponse[] = [];
  const all = new Promise<void>((resolve) => {
    stream.on("data", (answer: PerformResponse) => {
      answers.push(answer);
      if (answers.length === commands.length) resolve();
    });
  });
  for (const command of commands) stream.write({ command });
  await all;
  return answers;
}

const NONE_TO_CLOSE: Command = { $case: "closePackets", value: { ifindexes: [] } };

describe("Perform: commands by one stream", () => {
  test("are carried out in order, each with an answer of its own", async () => {
    await rig.ip("link", "add", "wan0", "type", "veth", "peer", "name", "isp0");
    await rig.ip("link", "set", "wan0", "up");
    const link = await rig.link("wan0");
    const route = {
      link,
      table: 7701,
      type: RouteType.UNICAST,
      metric: 0,
      destination: prefix4("192.0.2.0/24"),
    };
    const change = {
      $case: "putRoute",
      value: {
        ...route,
        gateway: undefined,
        preferredSource: undefined,
        onlink: false,
        mtu: undefined,
      },
    } as const;
    const stranger = { ...link, ifindex: 99_999 };
    const payload = Buffer.alloc(240);
    const dhcp = { link, payload, server: undefined, source: undefined };
    const answers = await perform(open(await rig.readyClient()), [
      { $case: "openPackets", value: { links: [link, stranger] } },
      { $case: "apply", value: { operations: [{ group: 1, change }] } },
      { $case: "sendDhcp", value: { messages: [dhcp] } },
      { $case: "watchArp", value: { watches: [{ link, addresses: [] }] } },
      { $case: "sendArp", value: { messages: [{ link, kind: undefined }] } },
      { $case: "broadcastLegacyEvent", value: { events: [{ ifindex: 1, up: true }] } },
      { $case: "closePackets", value: { ifindexes: [link.ifindex] } },
    ]);
    assert.deepEqual(
      answers.map(({ status: code, results }) => [code, ...results.map(outcomeOf)]),
      [
        [0, "done", "link_mismatch ifindex"],
        [0, "done"],
        [0, "malformed payload"],
        [0, "done"],
        [0, "malformed kind"],
        [0, "not_permitted legacy_broadcast"],
        [0],
      ],
    );
    assert.match(
      await rig.ip("route", "show", "table", "7701"),
      /192\.0\.2\.0\/24 dev wan0 proto 77/,
    );
  });

  test("one that is refused as a whole says why, and the stream goes on", async () => {
    const operations = Array.from({ length: 257 }, () => ({ group: 1, change: undefined }));
    const answers = await perform(open(await rig.readyClient()), [
      { $case: "apply", value: { operations } },
      undefined,
      NONE_TO_CLOSE,
    ]);
    assert.deepEqual(answers, [
      { results: [], status: status.INVALID_ARGUMENT, text: "257 items are not 1 to 256" },
      {
        results: [],
        status: status.INVALID_ARGUMENT,
        text: "command must be present and known",
      },
      { results: [], status: status.OK, text: "" },
    ]);
  });

  test("before Hello, the first closes the connection", async () => {
    const stream = rig.client().perform();
    const ended = new Promise<void>((resolve) => stream.once("error", () => resolve()));
    stream.on("data", () => assert.fail("an answer before Hello"));
    stream.write({ command: NONE_TO_CLOSE });
    await ended;
    await until(() => rig.log.includes("A verb outside of its state"));
  });

  // By bare HTTP/2: grpc-js reads ahead of whoever uses it.
  test("who does not read answers gets no more of them, until they are read", async () => {
    const session = http2.connect("http://helper", {
      createConnection: () => net.connect(rig.socket),
    });
    const call = (verb: string, message: Uint8Array) => {
      const stream = session.request({
        ":method": "POST",
        ":path": `/mnm.helper.v1.Helper/${verb}`,
        "content-type": "application/grpc",
        te: "trailers",
      });
      stream.write(framed(message));
      return stream;
    };
    const closing = PerformRequest.encode({ command: NONE_TO_CLOSE }).finish();
    const closingNone = ClosePacketsRequest.encode({ ifindexes: [] }).finish();
    try {
      await whole(call("Hello", HelloRequest.encode({ protocolVersion: 1 }).finish()).end());
      const stream = call("Perform", closing);
      const chunk = Buffer.concat(Array(1000).fill(framed(closing)));
      let taken = 0;
      const chunks = 200;
      for (let sent = 0; sent < chunks; sent += 1) {
        stream.write(chunk, () => {
          taken += 1;
        });
      }
      // Other calls are served meanwhile, and tell when nothing more happens on the stream.
      let seen = -1;
      for (let quiet = 0; quiet < 50; quiet = taken === seen ? quiet + 1 : 0) {
        seen = taken;
        await whole(call("ClosePackets", closingNone).end());
      }
      assert.ok(taken < chunks, "the helper took all commands");
      // An answer without results has no bytes but its frame's.
      const answers = await whole(stream.end());
      assert.equal(answers, (chunks * 1000 + 1) * framed(new Uint8Array(0)).length);
    } finally {
      session.destroy();
    }
  });
});

/** A message as gRPC frames it: not compressed, and its length. */
function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Reads a stream to its end; gives how many bytes there were. */
async function whole(stream: http2.ClientHttp2Stream): Promise<number> {
  let bytes = 0;
  for await (const part of stream) bytes += part.length;
  return bytes;
}
