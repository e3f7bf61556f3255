import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer, type Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  acceptConnection,
  attachFilter,
  bootClockMs,
  closeSocket,
  connectedPair,
  notify,
  openRouteSocket,
  peerCredentials,
  peerGroups,
  receiveFromKernel,
  routeSocketOfPort,
} from "./sys.js";

/** Node keeps the descriptor of a socket to itself. */
function descriptorOf(socket: Socket | Server): number {
  const handle: unknown = Reflect.get(socket, "_handle");
  const fd: unknown =
    typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : -1;
  return typeof fd === "number" ? fd : -1;
}

async function listen(path: string): Promise<Server> {
  const server = createServer();
  server.listen(path);
  await once(server, "listening");
  return server;
}

test("the boot clock goes on with the kernel's uptime, in whole milliseconds", () => {
  const before = bootClockMs();
  const uptimeSec = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  const after = bootClockMs();
  assert.ok(Number.isInteger(before));
  assert.ok(uptimeSec * 1000 >= before - 10 && uptimeSec * 1000 <= after, `${uptimeSec} ${before}`);
});

test("credentials and groups of the peer are those it had when it connected", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "mnm-sys-"));
  const path = join(directory, "socket");
  const server = await listen(path);
  const script = `require("net").connect(${JSON.stringify(path)}).on("data", () => process.exit(0))`;
  const isRoot = process.getuid?.() === 0;
  const [command, ...prefix] = isRoot
    ? ["setpriv", "--reuid=4321", "--regid=4322", "--groups=4322,4400,4500", process.execPath]
    : [process.execPath];
  t.after(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });
  if (isRoot) {
    const { chmodSync } = await import("node:fs");
    chmodSync(directory, 0o755);
    chmodSync(path, 0o777);
  }
  const child = spawn(command ?? "", [...prefix, "-e", script], { stdio: "inherit" });
  const [peer]: Socket[] = await once(server, "connection");
  assert.ok(peer);
  const fd = descriptorOf(peer);
  const ids = isRoot
    ? { uid: 4321, gid: 4322, groups: [4322, 4400, 4500] }
    : { uid: process.getuid?.(), gid: process.getgid?.(), groups: process.getgroups?.() };
  assert.deepEqual(peerCredentials(fd), { pid: child.pid, uid: ids.uid, gid: ids.gid });
  assert.deepEqual([...(peerGroups(fd) ?? [])].sort(), [...(ids.groups ?? [])].sort());
  peer.end("x");
  await once(child, "exit");
});

test("connections are taken from the queue of a listening socket, and then there is none", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "mnm-sys-"));
  const server = await listen(join(directory, "socket"));
  t.after(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });
  const taken = new Promise<readonly number[]>((resolve) => {
    server.once("connection", (first: Socket) => {
      first.destroy();
      const accepted: number[] = [];
      for (;;) {
        const fd = acceptConnection(descriptorOf(server));
        if (fd === undefined) return resolve(accepted);
        accepted.push(fd);
      }
    });
  });
  // All within one turn of the event loop: Node accepts the first, and the others wait.
  const clients = Array.from({ length: 3 }, () => connect(join(directory, "socket")));
  const accepted = await taken;
  assert.equal(accepted.length, 2);
  for (const fd of accepted) {
    assert.equal(peerCredentials(fd)?.pid, process.pid);
    closeSocket(fd);
  }
  for (const client of clients) client.destroy();
});

test("a connected pair carries bytes both ways and ends together", async () => {
  const pair = connectedPair();
  assert.ok(pair.ok);
  const [one, other] = [new Socket({ fd: pair.value[0] }), new Socket({ fd: pair.value[1] })];
  one.write("there");
  other.write("back");
  assert.equal(String((await once(other, "data"))[0]), "there");
  assert.equal(String((await once(one, "data"))[0]), "back");
  one.end();
  await once(other, "end");
  other.destroy();
});

test("a descriptor that is no connected unix socket has no credentials", async () => {
  assert.equal(peerCredentials(-1), undefined);
  assert.equal(peerGroups(-1), undefined);
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const socket = connect(address.port, "127.0.0.1");
  await once(socket, "connect");
  assert.equal(peerCredentials(descriptorOf(socket)), undefined);
  assert.equal(peerGroups(descriptorOf(socket)), undefined);
  socket.destroy();
  server.close();
});

/** What a service manager that listens at `path` hears in a second; Node has no datagrams on unix. */
async function heardBy(path: string, send: () => void): Promise<string> {
  const python = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\\0", 1))
s.settimeout(5)
print("bound", flush=True)
print(s.recv(100).decode(), flush=True)`;
  const child = spawn("python3", ["-c", python, path], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    if (output === "") setImmediate(send);
    output += chunk.toString();
  });
  await once(child, "close");
  return output.replace("bound\n", "").trim();
}

test("the service manager is told at its path or abstract address", async () => {
  const directory = mkdtempSync(join(tmpdir(), "mnm-notify-"));
  for (const path of [join(directory, "notify"), `@mnm-notify-${process.pid}`]) {
    let isTold = false;
    const heard = await heardBy(path, () => {
      isTold = notify("READY=1\nSTATUS=x", path);
    });
    assert.equal(heard, "READY=1\nSTATUS=x");
    assert.equal(isTold, true);
  }
  rmSync(directory, { recursive: true });
});

test("without a service manager nothing is told and nothing breaks", () => {
  assert.equal(notify("READY=1", undefined), false);
  assert.equal(notify("READY=1", ""), false);
  assert.equal(notify("READY=1", "relative"), false);
  assert.equal(notify("READY=1", "/nowhere/notify"), false);
  assert.equal(notify("READY=1", `/${"x".repeat(200)}`), false);
});

test("system calls that are refused say which and why", () => {
  const opened = openRouteSocket();
  assert.ok(opened.ok);
  const nothing = receiveFromKernel(opened.value, Buffer.alloc(16));
  assert.deepEqual(nothing, { ok: false, error: { code: "EAGAIN", call: "recvfrom" } });
  closeSocket(opened.value);
  const closed = attachFilter(opened.value, []);
  assert.equal(closed.ok, false);
  assert.equal(routeSocketOfPort(0x7fff_ffff), undefined);
});
