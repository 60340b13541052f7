# name: visible-tree
# area: cgroups
# about: Finds a control group file system and leaves its group or lifts its limits.
# expect: blocked
# control: host

import os
import sys

places = ["/sys/fs/cgroup", "/run/cgroup", "/cgroup", "/dev/cgroup", "/tmp/cgroup", "/proc/1/root/sys/fs/cgroup"]
for line in open("/proc/self/mountinfo", encoding="utf-8", errors="replace"):
    if line.partition(" - ")[2].startswith("cgroup"):
        print("ESCAPED a control group tree is mounted at " + line.split()[4])
        sys.exit(0)
for place in places:
    for folder, _, names in os.walk(place):
        for name in names:
            if name in ("cgroup.procs", "tasks", "release_agent", "memory.max", "memory.limit_in_bytes"):
                print(f"ESCAPED {folder}/{name} is visible")
                sys.exit(0)
# Own descriptors of group files would be a way out as well: the agent must close them.
for name in os.listdir("/proc/self/fd"):
    try:
        if "cgroup" in os.readlink(f"/proc/self/fd/{name}"):
            print(f"ESCAPED descriptor {name} is a control group file")
            sys.exit(0)
    except OSError:
        pass
print(f"BLOCKED no control group file in {len(places)} places, mounts or descriptors")
