/** Tries system calls that a program of ours never makes, and writes what came of each as JSON. */
import { spawnSync } from "node:child_process";
import koffi from "koffi";

const NOWHERE = "/nonexistent/mnm";
const PTRACE_ATTACH = 16;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_RAW_PACKET = [17, 3] as const;
const PROT_READ_WRITE_EXEC = 7;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const PAGE = 4096;

const libc = koffi.load("libc.so.6");

/** Harmless even where it is allowed: it names nothing that exists. */
type Call = readonly [prototype: string, ...args: readonly (number | string | null)[]];

const CALLS: readonly Call[] = [
  ["long ptrace(long, int, void *, void *)", PTRACE_ATTACH, 0x7fff_fff0, null, null],
  ["int mount(str, str, str, ulong, void *)", NOWHERE, NOWHERE, "tmpfs", 0, null],
  ["int umount2(str, int)", NOWHERE, 0],
  ["int chroot(str)", NOWHERE],
  ["int unshare(int)", -1],
  ["int setns(int, int)", -1, 0],
  ["int init_module(void *, ulong, str)", null, 0, ""],
  ["int delete_module(str, int)", NOWHERE, 0],
  ["int swapon(str, int)", NOWHERE, 0],
  // No command has this number.
  ["int reboot(int)", 1],
  ["int sethostname(void *, ulong)", null, PAGE],
  ["int adjtimex(void *)", null],
  ["int setuid(int)", -1],
  ["int setgroups(long, void *)", -1, null],
  ["int acct(str)", NOWHERE],
  ["int kill(int, int)", 0x7fff_fff0, 0],
  ["int shmget(int, ulong, int)", 0, 0, 0],
  ["int link(str, str)", NOWHERE, NOWHERE],
  ["int symlink(str, str)", "", NOWHERE],
  ["int truncate(str, long)", NOWHERE, 0],
  ["int mknod(str, int, int)", NOWHERE, 0, 0],
  ["int chown(str, int, int)", NOWHERE, 0, 0],
  ["long process_vm_readv(int, void *, ulong, void *, ulong, ulong)", -1, null, 0, null, 0, 0],
];

function errnoOf(call: () => unknown): number {
  koffi.errno(0);
  call();
  return koffi.errno();
}

const outcomes: Record<string, number> = {};
for (const [prototype, ...args] of CALLS) {
  const [, name = ""] = /(\w+)\(/.exec(prototype) ?? [];
  const call = libc.func(prototype);
  outcomes[name] = errnoOf(() => call(...args));
}
const socket = libc.func("int socket(int, int, int)");
outcomes["IPv4 socket"] = errnoOf(() => socket(AF_INET, SOCK_DGRAM, 0));
outcomes["IPv6 socket"] = errnoOf(() => socket(AF_INET6, SOCK_DGRAM, 0));
outcomes["packet socket"] = errnoOf(() => socket(...SOCK_RAW_PACKET, 0));
const mmap = libc.func("void *mmap(void *, ulong, int, int, int, long)");
const map = [null, PAGE, PROT_READ_WRITE_EXEC, MAP_PRIVATE_ANONYMOUS, -1, 0] as const;
outcomes["memory to write and execute"] = errnoOf(() => mmap(...map));
const { error } = spawnSync("/bin/true");
outcomes["another program"] = error !== undefined && "errno" in error ? -Number(error.errno) : 0;
process.stdout.write(JSON.stringify(outcomes));
