# name: sys-writes
# area: proc
# about: Opens the files of /sys that run helpers, change devices or switch the machine's power.
# expect: blocked
# control: host

import glob
import os
import sys

patterns = ["/sys/kernel/uevent_helper", "/sys/kernel/mm/*/*", "/sys/power/state", "/sys/power/disk",
            "/sys/kernel/kexec_*", "/sys/kernel/profiling", "/sys/module/*/parameters/*",
            "/sys/fs/cgroup/*", "/sys/fs/cgroup/*/release_agent", "/sys/class/net/*/mtu",
            "/sys/block/*/queue/scheduler", "/sys/bus/*/drivers_probe", "/sys/kernel/debug/*",
            "/sys/devices/system/cpu/cpu*/online", "/sys/kernel/security/*"]
tried = 0
for path in (p for pattern in patterns for p in glob.glob(pattern)):
    if not os.path.isfile(path):
        continue
    tried += 1
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        print(f"ESCAPED {path} opens for writing")
        sys.exit(0)
    except OSError:
        pass
print(f"BLOCKED {tried} files of /sys refuse writing")
