# name: processes
# area: siblings
# about: Finds processes of another sandbox or of the host in /proc and by number.
# expect: blocked
# canary: ATTACK_OTHER_SANDBOX
# control: host

import os
import sys

marker = os.environ.get("ATTACK_OTHER_SANDBOX") or sys.exit(2)
seen = 0
for pid in [int(n) for n in os.listdir("/proc") if n.isdigit()]:
    if pid == os.getpid():
        continue
    seen += 1
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if marker.encode() in file.read():
                print(f"ESCAPED process {pid} belongs to the other sandbox")
                sys.exit(0)
        with open(f"/proc/{pid}/status") as file:
            status = file.read()
    except OSError:
        continue
    if "Kthread:\t1" in status or "\nName:\tkthreadd" in "\n" + status:
        print(f"ESCAPED process {pid} is a thread of the kernel")
        sys.exit(0)
print(f"BLOCKED {seen} other processes, all of this sandbox")
