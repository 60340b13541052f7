# name: namespace-ids
# area: proc
# about: Compares its namespaces with those that the first process of the machine has.
# expect: blocked
# control: host

import os
import sys

# Fixed numbers of the initial namespaces (include/uapi/linux/nsfs.h, proc_ns.h).
initial = {"user": 4026531837, "pid": 4026531836, "uts": 4026531838, "ipc": 4026531839,
           "cgroup": 4026531835}
found = {}
for kind, number in initial.items():
    try:
        found[kind] = int(os.readlink(f"/proc/self/ns/{kind}").split("[")[1].rstrip("]"))
    except OSError:
        continue
    if found[kind] == number:
        print(f"ESCAPED runs in the initial {kind} namespace")
        sys.exit(0)
if len(found) < 4:
    sys.exit(2)  # Too little can be seen to judge.
print("BLOCKED " + " ".join(f"{kind}={number}" for kind, number in found.items()))
