import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { ifindexFromNumber, linkNameFromKernel } from "@mnm/proto/net";
import { DeviceTypes } from "./sysfs.js";

let directory = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mnm-sysfs-"));
});

afterEach(() => rmSync(directory, { recursive: true }));

function putUevent(name: string, content: string): void {
  mkdirSync(join(directory, name), { recursive: true });
  writeFileSync(join(directory, name, "uevent"), content);
}

function deviceType(types: DeviceTypes, ifindex: number, name: string): string | undefined {
  return types.of(ifindexFromNumber(ifindex), linkNameFromKernel(name));
}

test("the device type is the one of the link with that name and number", () => {
  putUevent("wlan0", "DEVTYPE=wlan\nINTERFACE=wlan0\nIFINDEX=3\n");
  putUevent("eth0", "INTERFACE=eth0\nIFINDEX=2\n");
  const types = new DeviceTypes(directory);
  assert.equal(deviceType(types, 3, "wlan0"), "wlan");
  assert.equal(deviceType(types, 2, "eth0"), undefined);
  assert.equal(deviceType(types, 9, "absent"), undefined);
});

test("sysfs of another network namespace is not believed", () => {
  putUevent("wlan0", "DEVTYPE=wlan\nINTERFACE=wlan0\nIFINDEX=3\n");
  assert.equal(deviceType(new DeviceTypes(directory), 33, "wlan0"), undefined);
});

test("a name is no path", () => {
  putUevent("outside", "DEVTYPE=wlan\nIFINDEX=3\n");
  mkdirSync(join(directory, "net"));
  const types = new DeviceTypes(join(directory, "net"));
  assert.equal(deviceType(types, 3, "../outside"), undefined);
});

test("it is read once per link and name, and again after the link was gone", () => {
  putUevent("usb0", "DEVTYPE=wwan\nINTERFACE=usb0\nIFINDEX=4\n");
  const types = new DeviceTypes(directory);
  assert.equal(deviceType(types, 4, "usb0"), "wwan");
  putUevent("usb0", "INTERFACE=usb0\nIFINDEX=4\n");
  assert.equal(deviceType(types, 4, "usb0"), "wwan");
  putUevent("lan9", "DEVTYPE=wlan\nINTERFACE=lan9\nIFINDEX=4\n");
  assert.equal(deviceType(types, 4, "lan9"), "wlan", "renamed");
  types.forget(ifindexFromNumber(4));
  assert.equal(deviceType(types, 4, "usb0"), undefined);
});
