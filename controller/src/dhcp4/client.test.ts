import assert from "node:assert/strict";
import { test } from "node:test";
import { addresses, ascii, replyOf, SERVER } from "../testing/dhcp4-server.js";
import { DhcpSimulation } from "../testing/dhcp4-simulation.js";

test("what the client sends is on the wire as it should be", () => {
  const client = new DhcpSimulation({ hostName: "mnm-host", vendorClass: "mnm 0.1" });
  client.start();
  const { last } = client;
  assert.equal(last.length, 300);
  assert.deepEqual([...last.options.keys()], [53, 61, 57, 55, 12, 60]);
  assert.deepEqual(last.options.get(61), Uint8Array.of(1, 2, 0, 0, 0, 0, 1));
  assert.deepEqual(last.options.get(57), Uint8Array.of(1472 >> 8, 1472 & 0xff));
  assert.deepEqual(last.options.get(12), ascii("mnm-host"));
  const list = [...(last.options.get(55) ?? [])];
  assert.ok(list.indexOf(121) < list.indexOf(3) && list.indexOf(121) < list.indexOf(33));
  assert.deepEqual(
    list.sort((a, b) => a - b),
    [1, 3, 6, 12, 15, 26, 28, 33, 42, 54, 58, 59, 114, 119, 121, 249],
  );
});

test("a server identifier need not be the address that the packet came from", () => {
  const client = new DhcpSimulation();
  client.start();
  const options = { 54: addresses("198.51.100.7") };
  client.packet(replyOf({ type: "offer", xid: client.last.xid, options }), SERVER);
  assert.deepEqual(client.last.options.get(54), addresses("198.51.100.7"));
});
