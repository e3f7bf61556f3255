import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

// Node has no datagram sockets of AF_UNIX to listen with.
const LISTENER = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(os.environ["NOTIFY_SOCKET"].replace("@", "\\0"))
print("ready", flush=True)
for _ in range(3): print(s.recv(100).decode(), flush=True)
`;

const MODULE = fileURLToPath(new URL("./watchdog.js", import.meta.url));
const feeder = (pid: string) =>
  `import(${JSON.stringify(MODULE)}).then((m) => m.feedWatchdog(process.env, ${pid}))`;

test("the watchdog is fed again and again", async () => {
  const NOTIFY_SOCKET = `@mnm-watchdog-${process.pid}`;
  const env = { ...process.env, NOTIFY_SOCKET, WATCHDOG_USEC: "4000", WATCHDOG_PID: "7" };
  const listener = spawn("python3", ["-c", LISTENER], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let heard = "";
  listener.stdout.on("data", (text: Buffer) => {
    heard += text.toString();
  });
  await once(listener.stdout, "data");
  const service = spawn(process.execPath, ["-e", feeder("7")], { env, stdio: "inherit" });
  try {
    await once(listener, "close");
    assert.equal(heard, `ready\n${"WATCHDOG=1\n".repeat(3)}`);
  } finally {
    service.kill("SIGKILL");
    listener.kill("SIGKILL");
  }
});

test("without a watchdog of its own it keeps nothing awake", async () => {
  const socket = { NOTIFY_SOCKET: "@nobody" };
  for (const watched of [
    {},
    { WATCHDOG_USEC: "4000", WATCHDOG_PID: "7" },
    { ...socket },
    { ...socket, WATCHDOG_USEC: "4000", WATCHDOG_PID: "8" },
    { ...socket, WATCHDOG_USEC: "4000" },
    { ...socket, WATCHDOG_USEC: "0", WATCHDOG_PID: "7" },
    { NOTIFY_SOCKET: "relative", WATCHDOG_USEC: "4000", WATCHDOG_PID: "7" },
  ]) {
    const env = { PATH: process.env["PATH"], ...watched };
    const [code] = await once(spawn(process.execPath, ["-e", feeder("7")], { env }), "exit");
    assert.equal(code, 0, JSON.stringify(watched));
  }
});
