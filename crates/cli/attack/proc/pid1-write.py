# name: pid1-write
# area: proc
# about: Opens the writable entries of PID 1 in /proc: maps of ids, attributes, timer slack, comm, loginuid.
# expect: blocked
# control: namespace

import os
import sys

names = ["comm", "autogroup", "coredump_filter", "clear_refs", "timerslack_ns", "oom_score_adj",
         "uid_map", "gid_map", "setgroups", "loginuid", "attr/current", "attr/exec", "attr/fscreate",
         "attr/sockcreate", "sched", "make-it-fail", "fail-nth", "mem", "projid_map", "latency",
         "timens_offsets", "arch_status", "ksm_stat", "task/1/comm"]
targets = [1]
# A parent with the code's own id is the code's; any other is part of the sandbox.
if os.getppid() > 1 and os.stat(f"/proc/{os.getppid()}").st_uid != os.getuid():
    targets.append(os.getppid())
for pid in targets:
    for name in names:
        path = f"/proc/{pid}/{name}"
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError as error:
            last = error
            continue
        # Some of these judge at the write, not at the open: ask with something harmless.
        try:
            fd = os.open(path, os.O_WRONLY)
            os.write(fd, b"0" if name != "comm" else b"agent")
        except OSError as error:
            last = error
            continue
        print(f"ESCAPED {path} was written")
        sys.exit(0)
print(f"BLOCKED {len(names)} entries, last: {last}")
