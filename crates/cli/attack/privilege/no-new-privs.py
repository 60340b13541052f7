# name: no-new-privs
# area: privilege
# about: Runs without no-new-privileges or without a seccomp filter, in any of its threads.
# expect: blocked
# control: host

import os
import sys
import threading

threading.Thread(target=lambda: threading.Event().wait(30), daemon=True).start()
tasks = os.listdir("/proc/self/task")
for task in tasks:
    status = {}
    for line in open(f"/proc/self/task/{task}/status"):
        name, _, value = line.partition(":")
        status[name] = value.strip()
    if status.get("NoNewPrivs") != "1":
        print("ESCAPED no-new-privileges is " + status.get("NoNewPrivs", "unknown"))
        sys.exit(0)
    if status.get("Seccomp") != "2":
        print("ESCAPED seccomp mode is " + status.get("Seccomp", "unknown"))
        sys.exit(0)
print(f"BLOCKED {len(tasks)} threads with no-new-privileges and a filter")
