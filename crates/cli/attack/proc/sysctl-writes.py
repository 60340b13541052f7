# name: sysctl-writes
# area: proc
# about: Opens every file of /proc/sys for writing: core_pattern, modprobe, pid_max, overcommit and the rest.
# expect: blocked
# control: host

import os
import sys

# Opening asks for the whole permission; nothing is written.
seen = 0
first = ["kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "kernel/sysrq", "kernel/pid_max",
         "vm/overcommit_memory", "vm/drop_caches", "fs/suid_dumpable", "kernel/ns_last_pid"]
paths = ["/proc/sys/" + name for name in first]
for folder, _, names in os.walk("/proc/sys"):
    paths += [os.path.join(folder, name) for name in names]
for path in paths:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        print(f"ESCAPED {path} opens for writing")
        sys.exit(0)
    except OSError:
        seen += 1
    try:
        os.chmod(path, 0o666)
        print(f"ESCAPED the mode of {path} can be changed")
        sys.exit(0)
    except OSError:
        pass
print(f"BLOCKED {seen} files of /proc/sys refuse writing")
