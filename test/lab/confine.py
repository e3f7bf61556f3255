# Runs a command under a system call filter: confine.py LIMITS COMMAND [ARGUMENT...]
# LIMITS is JSON (confinement.ts says what it means). `setpriv --no-new-privs` must have come before.
import errno
import json
import os
import socket
import sys

import seccomp
from seccomp import ALLOW, EQ, ERRNO, GT, KILL_PROCESS, MASKED_EQ, Arg, Arch, SyscallFilter

PROT_WRITE = 2
PROT_EXEC = 4
CLONE_THREAD = 0x10000

limits = json.loads(sys.argv[1])
allowed = limits["allowed"]
denied = KILL_PROCESS if limits["denial"] == "kill" else ERRNO(errno.ENOANO)

# A filter of its own for what depends on arguments: of two filters the stricter answer counts.
details = SyscallFilter(ALLOW)


def deny(call, *arguments):
    # Not every architecture has every call.
    if seccomp.resolve_syscall(Arch(), call) >= 0:
        details.add_rule(denied, call, *arguments)


if limits["denyWriteExecute"]:
    deny("mmap", Arg(2, MASKED_EQ, PROT_WRITE | PROT_EXEC, PROT_WRITE | PROT_EXEC))
    deny("mprotect", Arg(2, MASKED_EQ, PROT_EXEC, PROT_EXEC))
    deny("pkey_mprotect", Arg(2, MASKED_EQ, PROT_EXEC, PROT_EXEC))
families = sorted(getattr(socket, name) for name in limits["families"])
for family in set(range(families[-1])) - set(families):
    deny("socket", Arg(0, EQ, family))
deny("socket", Arg(0, GT, families[-1]))
if limits["denyFork"]:
    deny("fork")
    deny("vfork")
    deny("clone", Arg(0, MASKED_EQ, CLONE_THREAD, 0))
    # Its flags are in memory, where no filter sees them. Without it the C library takes clone().
    details.add_rule(ERRNO(errno.ENOSYS), "clone3")
details.load()

calls = SyscallFilter(denied)
for call in allowed:
    # As systemd does: what is not known here cannot be called either.
    if seccomp.resolve_syscall(Arch(), call) != -1:
        calls.add_rule(ALLOW, call)
calls.load()
os.execvp(sys.argv[2], sys.argv[2:])
