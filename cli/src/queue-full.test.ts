import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ExitCode } from "./exit-code.js";
import { run } from "./run.js";
import { Terminal } from "./testing/terminal.js";

/** A controller that is held up, and as many who wait for it as the kernel lets wait. */
async function heldUp(t: TestContext): Promise<{ socket: string; controller: ChildProcess }> {
  const directory = mkdtempSync(join(tmpdir(), "mnmctl-test-"));
  const socket = join(directory, "controller.sock");
  const code = `
    const server = require("net").createServer((socket) => socket.destroy());
    server.listen({ path: process.argv[1], backlog: 4 }, () => process.kill(process.pid, "SIGSTOP"));`;
  const controller = spawn(process.execPath, ["-e", code, socket], { stdio: "ignore" });
  const waiting: Socket[] = [];
  t.after(() => {
    for (const one of waiting) one.destroy();
    controller.kill("SIGKILL");
    rmSync(directory, { recursive: true });
  });
  for (;;) {
    const one = connect(socket);
    const outcome = await new Promise<string | undefined>((resolve) => {
      one.once("connect", () => resolve("connected"));
      one.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
    });
    if (outcome === "connected") waiting.push(one);
    if (outcome === "EAGAIN") return { socket, controller };
    // Not there yet: let it start.
    if (outcome === "ENOENT") await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function status(socket: string) {
  const terminal = new Terminal({ env: { MNM_SOCKET: socket } });
  return { code: await run(["status"], terminal), stderr: terminal.stderr };
}

test("mnmctl waits for its place in a queue that is full, and gives up in the end", async (t) => {
  const { socket } = await heldUp(t);
  const { code, stderr } = await status(socket);
  assert.equal(code, ExitCode.unreachable);
  assert.match(stderr, /^error: too many wait to connect to .*; try again in a moment, .*\n$/);
});

test("it goes on as soon as there is room", async (t) => {
  const { socket, controller } = await heldUp(t);
  const asked = status(socket);
  controller.kill("SIGCONT");
  const { code, stderr } = await asked;
  assert.equal(code, ExitCode.unreachable);
  // This one closes every connection, but it did accept ours.
  assert.match(stderr, /^error: the connection to .* was lost .*does its log say that your user/);
});
