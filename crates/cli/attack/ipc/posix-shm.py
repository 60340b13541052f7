# name: posix-shm
# area: ipc
# about: Opens POSIX shared memory that the harness made on the host, and lists what else is there.
# expect: blocked
# canary: ATTACK_POSIX_NAME
# control: host

import os
import sys

name = os.environ.get("ATTACK_POSIX_NAME") or sys.exit(2)
for path in ("/dev/shm/" + name, "/run/shm/" + name, "/proc/1/root/dev/shm/" + name):
    try:
        os.close(os.open(path, os.O_RDONLY))
        print(f"ESCAPED opened {path}")
        sys.exit(0)
    except OSError as error:
        last = error
try:
    foreign = [n for n in os.listdir("/dev/shm")
               if os.lstat("/dev/shm/" + n).st_uid not in (os.getuid(), 0, 1000)]
except OSError as error:
    foreign, last = [], error
if foreign:
    print(f"ESCAPED /dev/shm holds {foreign[0]!r} of another user")
else:
    print(f"BLOCKED {last}")
