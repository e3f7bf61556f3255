import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, credentials } from "@grpc/grpc-js";
import { Lab } from "../lab/index.js";

/** `grpc.reflection.v1.ServerReflection`, as far as this test speaks it, in protobuf's wire form. */
const PATH = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

test("server reflection lists the public service and describes it, from the bundle", async () => {
  await using lab = await Lab.create({ uplinks: 1 });
  await lab.startController();
  const client = new Client(`unix:${lab.launcher.controllerSocket}`, credentials.createInsecure());
  const ask = (request: Buffer) =>
    new Promise<Buffer>((resolve, reject) => {
      const same = (bytes: Buffer) => bytes;
      const call = client.makeBidiStreamRequest(PATH, same, same);
      call.on("data", resolve);
      call.on("error", reject);
      call.write(request);
      call.end();
    });
  // list_services is field 7, file_containing_symbol field 4; both are strings.
  const field = (tag: number, text: string) =>
    Buffer.concat([Buffer.of(tag, text.length), Buffer.from(text)]);
  const services = (await ask(field(0x3a, "*"))).toString("latin1");
  assert.match(services, /mnm\.v1\.NetworkManager/);
  assert.doesNotMatch(services, /helper/);
  const described = (await ask(field(0x22, "mnm.v1.NetworkManager"))).toString("latin1");
  assert.match(described, /SetMetricRequest/);
  client.close();
});
