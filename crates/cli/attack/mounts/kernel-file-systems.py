# name: kernel-file-systems
# area: mounts
# about: Finds a mounted cgroup, debug, trace, security, bpf, efi or configuration file system.
# expect: blocked
# control: host

import sys

dangerous = {"cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf", "efivarfs", "configfs",
             "pstore", "binfmt_misc", "hugetlbfs", "fusectl", "selinuxfs", "nsfs", "autofs",
             "rpc_pipefs", "fuse.lxcfs", "resctrl"}
kinds = set()
for line in open("/proc/self/mountinfo", encoding="utf-8", errors="replace"):
    where, kind = line.split()[4], line.partition(" - ")[2].split()[0]
    kinds.add(kind)
    if kind in dangerous:
        print(f"ESCAPED {kind} is mounted at {where}")
        sys.exit(0)
print("BLOCKED only " + " ".join(sorted(kinds)))
