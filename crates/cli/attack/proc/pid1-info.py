# name: pid1-info
# area: proc
# about: Reads what /proc keeps private about PID 1: environment, maps, descriptors, cwd, root, exe, stack.
# expect: blocked
# control: namespace

import os
import sys

tried = 0
targets = [1]
# A parent with the code's own id is the code's; any other is part of the sandbox.
if os.getppid() > 1 and os.stat(f"/proc/{os.getppid()}").st_uid != os.getuid():
    targets.append(os.getppid())
for pid in targets:
    for name in ("environ", "maps", "smaps", "auxv", "stack", "syscall", "io", "personality", "pagemap",
                 "mountstats", "clear_refs", "numa_maps", "timers", "mem"):
        tried += 1
        try:
            with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
                # Reading the memory file at 0 gives an error though the open was granted.
                if name in ("mem", "pagemap") or file.read(1):
                    print(f"ESCAPED /proc/{pid}/{name} can be read")
                    sys.exit(0)
        except OSError:
            pass
    for name in ("cwd", "root", "exe"):
        tried += 1
        try:
            os.readlink(f"/proc/{pid}/{name}")
            print(f"ESCAPED /proc/{pid}/{name} can be followed")
            sys.exit(0)
        except OSError:
            pass
    for name in ("fd", "fdinfo", "map_files"):
        tried += 1
        try:
            found = os.listdir(f"/proc/{pid}/{name}")
            print(f"ESCAPED /proc/{pid}/{name} lists {len(found)} entries")
            sys.exit(0)
        except OSError:
            pass
print(f"BLOCKED {tried} private entries of PID 1 and the parent refused")
