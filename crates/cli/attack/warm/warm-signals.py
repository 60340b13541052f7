# name: warm-signals
# area: warm
# about: Signals, stops, limits and slows the interpreter that this program was forked from, by every way there is.
# expect: blocked
# profiles: strict
# users: user
# needs: x86-64 warm

import ctypes
import gc
import os
import resource
import signal
import sys

if gc.get_freeze_count() < 5000:
    print("this program is no fork")
    sys.exit(2)
libc = ctypes.CDLL(None, use_errno=True)


def escaped(what):
    print("ESCAPED", what)
    sys.stdout.flush()
    os._exit(0)


def warm():
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/comm") as file:
                if file.read() == "sandkeep-warm\n":
                    return int(name)
        except OSError:
            pass
    return None


pid = warm()
if pid is None:
    print("BLOCKED it is nowhere to be seen")
    sys.exit(0)
for number in (0, signal.SIGSTOP, signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL):
    for name, send in (("kill", lambda: os.kill(pid, number)), ("killpg", lambda: os.killpg(pid, number)),
                       ("tgkill", lambda: check(libc.syscall(234, pid, pid, number))),
                       ("sigqueue", lambda: check(libc.sigqueue(pid, int(number), None)))):

        def check(result):
            if result != 0:
                raise OSError

        try:
            send()
        except OSError:
            continue
        escaped(f"{name} {number} of {pid}")
for name, change in (
    ("prlimit", lambda: resource.prlimit(pid, resource.RLIMIT_CPU)),
    ("prlimit to set", lambda: resource.prlimit(pid, resource.RLIMIT_AS, (1, 1))),
    ("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)),
    ("setpriority of a group", lambda: os.setpriority(os.PRIO_PGRP, pid, 19)),
    ("sched_setaffinity", lambda: os.sched_setaffinity(pid, {0})),
    ("sched_setscheduler", lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))),
    ("setpgid", lambda: os.setpgid(pid, os.getpgrp())),
):
    try:
        change()
    except OSError:
        continue
    escaped(f"{name} of {pid}")
try:
    descriptor = os.pidfd_open(pid)
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    escaped(f"killed {pid} by a descriptor")
except OSError:
    pass
if warm() != pid:
    escaped(f"{pid} is gone")
print(f"BLOCKED {pid} is as it was")
