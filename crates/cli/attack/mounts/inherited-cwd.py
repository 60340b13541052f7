# name: inherited-cwd
# area: mounts
# about: Leaves by a working directory or a directory descriptor that points to the host (CVE-2024-21626).
# expect: blocked
# canary: ATTACK_HOST_SECRET_PATH
# control: host

import os
import stat
import sys

secret = os.environ.get("ATTACK_HOST_SECRET_PATH") or sys.exit(2)
try:
    cwd = os.readlink("/proc/self/cwd")
    if not cwd.startswith("/") or "(unreachable)" in cwd:
        print(f"ESCAPED the working directory is outside the root: {cwd}")
        sys.exit(0)
except OSError:
    pass
directories = 0
for name in os.listdir("/proc/self/fd"):
    link = f"/proc/self/fd/{name}"
    try:
        if not stat.S_ISDIR(os.stat(link).st_mode):
            continue
        target = os.readlink(link)
    except OSError:
        continue  # The descriptor of this very listing is closed by now.
    directories += 1
    print(f"ESCAPED descriptor {name} is the directory {target}, inherited")
    sys.exit(0)
for number in range(3, 1024):
    for path in (f"/proc/self/fd/{number}/../../../../../..{secret}", f"/proc/1/fd/{number}{secret}"):
        if os.path.lexists(path):
            print(f"ESCAPED {path} leads to the host's file")
            sys.exit(0)
    try:
        os.chdir(f"/proc/self/fd/{number}")
        print(f"ESCAPED changed into descriptor {number}")
        sys.exit(0)
    except OSError:
        pass
print("BLOCKED no directory is inherited, the working directory is inside")
