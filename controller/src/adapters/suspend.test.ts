import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { err, ok } from "@mnm/proto/net";
import { SuspendMonitor } from "./suspend.js";
import { type SystemFault, suspendedMs, watchWallClock } from "./sys.js";

/** A monitor with a clock that the test sets, and a watch that it fires. */
function monitored(fault?: SystemFault) {
  const heard: string[] = [];
  const clock = { suspendedMs: 5_000 };
  let fire = () => {};
  let isClosed = false;
  const monitor = new SuspendMonitor(
    {
      suspendedMs: () => clock.suspendedMs,
      watch: (onChange) => {
        fire = onChange;
        const close = () => {
          isClosed = true;
        };
        return fault === undefined ? ok({ close }) : err(fault);
      },
    },
    {
      onResumed: (sleptMs) => heard.push(`resumed after ${sleptMs}`),
      onUnwatched: ({ code, call }) => heard.push(`unwatched: ${call} ${code}`),
    },
  );
  return { monitor, heard, clock, fire: () => fire(), isClosed: () => isClosed };
}

test("a resume is told once, with how long the host slept", () => {
  const { heard, clock, fire } = monitored();
  clock.suspendedMs += 3_600_000;
  fire();
  fire();
  clock.suspendedMs += 86_400_000;
  fire();
  assert.deepEqual(heard, ["resumed after 3600000", "resumed after 86400000"]);
});

test("a wall clock that was set is no resume", () => {
  const { heard, fire } = monitored();
  for (let turn = 0; turn < 100; turn += 1) fire();
  assert.deepEqual(heard, []);
});

test("short sleeps add up", () => {
  const { heard, clock, fire } = monitored();
  clock.suspendedMs += 999;
  fire();
  assert.deepEqual(heard, []);
  clock.suspendedMs += 1;
  fire();
  assert.deepEqual(heard, ["resumed after 1000"]);
});

test("close() ends the watch", () => {
  const { monitor, isClosed } = monitored();
  monitor.close();
  assert.ok(isClosed());
});

test("where the kernel does not tell, it says so once and looks every minute", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const { monitor, heard, clock } = monitored({ code: "ENOSYS", call: "timerfd_create" });
  t.mock.timers.tick(120_000);
  assert.deepEqual(heard, ["unwatched: timerfd_create ENOSYS"]);
  clock.suspendedMs += 3_600_000;
  t.mock.timers.tick(60_000);
  assert.deepEqual(heard.slice(1), ["resumed after 3600000"]);
  monitor.close();
  clock.suspendedMs += 3_600_000;
  t.mock.timers.tick(60_000);
  assert.equal(heard.length, 2);
});

test("how long the host was suspended does not move while it is not", async () => {
  const before = suspendedMs();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(Math.abs(suspendedMs() - before) < 1_000);
});

/** The descriptors of this process that are timerfds, with what the kernel says of each. */
function timerfds(): ReadonlyMap<number, string> {
  const found = new Map<number, string>();
  for (const fd of readdirSync("/proc/self/fdinfo")) {
    try {
      const text = readFileSync(`/proc/self/fdinfo/${fd}`, "utf8");
      if (text.includes("clockid:")) found.set(Number(fd), text);
    } catch {
      // The one by which the directory was read.
    }
  }
  return found;
}

/**
 * Makes a timerfd of this process expire: what the kernel does at a resume cannot be done here
 * without setting this machine's clock, but it looks the same to poll(2).
 */
const EXPIRE = `
import ctypes, os, sys, struct
libc = ctypes.CDLL(None, use_errno=True)
pidfd = libc.syscall(434, int(sys.argv[1]), 0)
fd = libc.syscall(438, pidfd, int(sys.argv[2]), 0)
assert fd >= 0, os.strerror(ctypes.get_errno())
value = struct.pack("qqqq", 0, 0, 0, 1)
assert libc.timerfd_settime(fd, 0, value, None) == 0`;

test("the kernel's watch is one timer that never fires by itself, and calls when it does", async () => {
  const before = timerfds();
  let calls = 0;
  let called = () => {};
  const watch = watchWallClock(() => {
    calls += 1;
    called();
  });
  assert.ok(watch.ok);
  const [[fd, info] = [-1, ""]] = [...timerfds()].filter(([number]) => !before.has(number));
  assert.match(info, /clockid: 0\n/, "CLOCK_REALTIME");
  assert.match(info, /settime flags: 03\n/, "absolute, and cancelled when the clock is set");
  for (const turn of [1, 2]) {
    const next = new Promise<void>((resolve) => {
      called = resolve;
    });
    const { status, stderr } = spawnSync("python3", ["-c", EXPIRE, `${process.pid}`, `${fd}`]);
    assert.equal(status, 0, `${stderr}`);
    // The watch itself does not keep the process alive.
    const alive = setInterval(() => {}, 1_000);
    await next;
    clearInterval(alive);
    assert.equal(calls, turn);
  }
  for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
  assert.equal(calls, 2, "what was read does not call again");
  watch.value.close();
  watch.value.close();
  assert.equal([...timerfds().keys()].filter((number) => !before.has(number)).length, 0);
});
