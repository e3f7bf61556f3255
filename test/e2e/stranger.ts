/** A process of another user that means no good: what it is told to do, it does at the socket. */
import { createConnection, type Socket } from "node:net";
import { FLOODS, malformedSession, OPENING, randomOf } from "./http2-bytes.js";
import type { Deed, Done } from "./strangers.js";

/** As many sessions are kept open by one that sends malformed ones. */
const SESSIONS_AT_ONCE = 64;

function open(path: string): Socket {
  return createConnection(path)
    .on("error", () => undefined)
    .resume();
}

const closed = (socket: Socket) =>
  new Promise<void>((resolve) => {
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
  });

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Connects and closes as fast as this machine lets it. */
async function connects({ path, seconds, uids }: Extract<Deed, { kind: "connects" }>) {
  const began = performance.now();
  let count = 0;
  let refused = 0;
  let pending = 0;
  while (performance.now() - began < seconds * 1000) {
    for (let n = 0; n < 50 && pending < 500; n += 1) {
      pending += 1;
      // Who connects is who it is at connect(2), which libuv does at once.
      if (uids > 1) process.seteuid?.(100_000 + ((count + pending) % uids));
      const socket = createConnection(path);
      if (uids > 1) process.seteuid?.(0);
      socket.on("error", () => {
        refused += 1;
      });
      socket.once("connect", () => {
        count += 1;
        socket.destroy();
      });
      socket.once("close", () => {
        pending -= 1;
      });
    }
    await turn();
  }
  return { count, refused, seconds: (performance.now() - began) / 1000 };
}

/** Sends sessions that no library would, and goes away in one way or another, or not at all. */
async function malformed({ path, count, seed, seconds }: Extract<Deed, { kind: "malformed" }>) {
  const random = randomOf(seed);
  const began = performance.now();
  const sessions = new Set<Socket>();
  let refused = 0;
  for (let n = 0; n < count; n += 1) {
    // Evenly over the time, or as fast as it can when it is late.
    if (performance.now() - began < (n / count) * seconds * 1000) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      n -= 1;
      continue;
    }
    const socket = open(path);
    socket.once("error", () => {
      refused += 1;
    });
    sessions.add(socket);
    socket.once("close", () => sessions.delete(socket));
    socket.write(malformedSession(random));
    const manner = random(3);
    if (manner === 0) socket.once("connect", () => socket.end());
    if (manner === 1) socket.once("data", () => socket.destroy());
    const [oldest] = sessions;
    if (sessions.size >= SESSIONS_AT_ONCE) oldest?.destroy();
    await turn();
  }
  for (const socket of sessions) socket.destroy();
  return { count, refused, seconds: (performance.now() - began) / 1000 };
}

/** Both at the same time, by this one process. */
async function assault(deed: Extract<Deed, { kind: "assault" }>) {
  const [all, some] = await Promise.all([
    connects({ ...deed, kind: "connects", uids: 1 }),
    malformed({ ...deed, kind: "malformed", count: deed.sessions }),
  ]);
  return { ...all, count: all.count + some.count, refused: all.refused + some.refused };
}

/** Sends one kind of frame as fast as it is read, in connections that are opened anew when cut. */
async function flood(deed: Extract<Deed, { kind: "flood" }>) {
  const { path, name, width, seconds } = deed;
  const kind = FLOODS.find((candidate) => candidate.name === name);
  if (kind === undefined) throw new Error(`No flood ${name}`);
  const began = performance.now();
  let cuts = 0;
  const one = async () => {
    while (performance.now() - began < seconds * 1000) {
      const socket = open(path);
      socket.write(kind.beginning);
      for (let n = 0; !socket.destroyed && performance.now() - began < seconds * 1000; n += 1) {
        const isTaken = socket.write(kind.round(n));
        if (!isTaken) {
          await Promise.race([
            new Promise((resolve) => socket.once("drain", resolve)),
            closed(socket),
            new Promise((resolve) => setTimeout(resolve, 100)),
          ]);
        }
      }
      if (socket.destroyed) cuts += 1;
      socket.destroy();
      await turn();
    }
  };
  await Promise.all(Array.from({ length: width }, one));
  return { count: cuts, refused: 0, seconds: (performance.now() - began) / 1000 };
}

/** Connections that stay: nothing follows the opening. */
const kept: Socket[] = [];

async function keep({ path, width }: Extract<Deed, { kind: "keep" }>) {
  const began = performance.now();
  for (let n = 0; n < width; n += 1) {
    const socket = open(path);
    kept.push(socket);
    socket.write(OPENING);
  }
  await Promise.all(
    kept.map((socket) =>
      socket.closed ? undefined : new Promise((resolve) => socket.once("data", resolve)),
    ),
  );
  return { count: kept.length, refused: 0, seconds: (performance.now() - began) / 1000 };
}

/** Waits until all that are kept were closed from the other side. */
async function watchKept() {
  const began = performance.now();
  await Promise.all(kept.map(closed));
  return { count: kept.length, refused: 0, seconds: (performance.now() - began) / 1000 };
}

function perform(deed: Deed): Promise<Done> {
  switch (deed.kind) {
    case "connects":
      return connects(deed);
    case "malformed":
      return malformed(deed);
    case "assault":
      return assault(deed);
    case "flood":
      return flood(deed);
    case "keep":
      return keep(deed);
    case "watch-kept":
      return watchKept();
  }
}

// What it needs is loaded: from here on it is somebody else, who may not be able to read our files.
const uid = Number(process.argv[2]);
process.setgroups?.([]);
if (uid !== 0) {
  process.setgid?.(uid);
  process.setuid?.(uid);
}
process.on("message", (deed: Deed) => {
  perform(deed).then(
    (done) => process.send?.(done),
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    },
  );
});
process.on("disconnect", () => process.exit(0));
process.send?.("ready");
