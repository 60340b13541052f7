# name: rw-host-mounts
# area: mounts
# about: Finds a writable mount of a real disk of the host, other than its own workspace and home.
# expect: blocked
# control: host

import os
import sys

own = ("/workspace", "/home", "/tmp", "/run", "/var/tmp", "/dev/shm")
virtual = {"tmpfs", "proc", "devpts", "mqueue", "overlay", "devtmpfs", "sysfs", "ramfs"}
count = 0
for line in open("/proc/self/mountinfo", encoding="utf-8", errors="replace"):
    left, _, right = line.partition(" - ")
    fields, kind = left.split(), right.split()[0]
    where, options = fields[4].encode().decode("unicode_escape"), fields[5].split(",")
    count += 1
    if kind in virtual or where == "/" and os.environ.get("ATTACK_PROFILE") == "dev":
        continue
    if any(where == path or where.startswith(path + "/") for path in own):
        continue
    if "rw" in options:
        print(f"ESCAPED {where} is a writable mount of {kind}")
        sys.exit(0)
    # The option may lie about what lies below: try it.
    probe = os.path.join(where, f".sandkeep-attack-{os.getpid()}")
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(probe)
        print(f"ESCAPED {where} ({kind}) accepts new files")
        sys.exit(0)
    except OSError:
        pass
print(f"BLOCKED {count} mounts, no writable one of a host file system")
