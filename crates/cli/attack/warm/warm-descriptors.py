# name: warm-descriptors
# area: warm
# about: Looks for what a fork may have kept of the interpreter: descriptors, mappings of its module, capabilities, its socket.
# expect: blocked
# profiles: strict
# users: user
# needs: x86-64 warm

import ctypes
import gc
import os
import sys

if gc.get_freeze_count() < 5000:
    print("this program is no fork")
    sys.exit(2)
libc = ctypes.CDLL(None, use_errno=True)


def escaped(what):
    print("ESCAPED", what)
    sys.exit(0)


for number in range(3, 4096):
    try:
        os.fstat(number)
    except OSError:
        continue
    escaped(f"descriptor {number} is {os.readlink(f'/proc/self/fd/{number}')}")
with open("/proc/self/status") as file:
    status = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    if int(status[name], 16):
        escaped(f"{name} is {status[name]}")
if status["NoNewPrivs"].strip() != "1" or status["Seccomp"].strip() != "2" or status["Groups"].strip():
    escaped("no_new_privs, the filter or the groups are not as they should be")
if set(status["Uid"].split()) != {str(os.getuid())} or os.getuid() != 1000:
    escaped(f"ids are {status['Uid']}")
for ids in ((65533, 65533, 65533), (0, 0, 0), (-1, 65533, -1)):
    for change in (os.setresuid, os.setresgid):
        try:
            change(*(number % 2**32 for number in ids))
        except (OSError, OverflowError):
            continue
        escaped(f"became {ids}")
for flags in (0x10000000, 0x20000000, 0x00020000, 0x02000000):
    if libc.unshare(flags) == 0:
        escaped(f"unshare({flags:#x})")
for pid in [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        continue
    for number in range(8):
        if libc.syscall(438, descriptor, number, 0) >= 0:
            escaped(f"took descriptor {number} of {pid}")
with open("/proc/net/unix") as file:
    names = [line.split()[7] for line in file.read().splitlines()[1:] if len(line.split()) > 7]
if any("warm" in name for name in names):
    escaped(f"its socket has a name: {names}")
print("BLOCKED nothing was kept")
