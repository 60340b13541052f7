# name: host-secret
# area: files
# about: Reads a private file of the host by its path, by `..`, by other processes' roots and by descriptors.
# expect: blocked
# canary: ATTACK_HOST_SECRET_PATH
# control: host

import os
import sys

secret = os.environ.get("ATTACK_HOST_SECRET_PATH") or sys.exit(2)
up = "../" * 40
prefixes = ["", up.rstrip("/"), "/workspace/" + up, "/proc/self/cwd/" + up, "/proc/self/root/" + up,
            "/dev/shm/" + up, "/tmp/" + up, "/usr/" + up, "/oldroot", "/old_root", "/.oldroot",
            "/.pivot_root", "/put_old", "/mnt", "/host", "/newroot/" + up]
for pid in [n for n in os.listdir("/proc") if n.isdigit()]:
    prefixes += [f"/proc/{pid}/root", f"/proc/{pid}/cwd/{up}", f"/proc/{pid}/task/{pid}/root"]
    prefixes += [f"/proc/{pid}/fd/{n}/{up}" for n in range(32)]
    prefixes += [f"/proc/{pid}/fd/{n}" for n in range(32)]
last = None
for prefix in prefixes:
    path = prefix.rstrip("/") + secret
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        print(f"ESCAPED opened the secret by {prefix or 'its own path'}")
        sys.exit(0)
    except OSError as error:
        last = error.strerror
    try:
        os.stat(path)
        print(f"ESCAPED the secret is visible by {prefix or 'its own path'}")
        sys.exit(0)
    except OSError:
        pass
print(f"BLOCKED {len(prefixes)} ways to the file, last: {last}")
