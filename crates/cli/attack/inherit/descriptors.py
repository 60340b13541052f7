# name: descriptors
# area: inherit
# about: Finds an inherited descriptor: a socket, a directory, a file of the host, the agent's channels.
# expect: blocked
# control: host

import fcntl
import os
import stat
import sys

found = 0
for number in range(0, 65536):
    try:
        entry = os.fstat(number)
    except OSError:
        continue
    found += 1
    try:
        target = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        target = "?"
    access = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
    if stat.S_ISDIR(entry.st_mode):
        print(f"ESCAPED descriptor {number} is the directory {target}")
        sys.exit(0)
    if stat.S_ISREG(entry.st_mode) and access != os.O_RDONLY:
        print(f"ESCAPED descriptor {number} is the writable file {target}")
        sys.exit(0)
    # The program's own text may be open for reading; nothing else beyond the first three.
    if number > 2 and not stat.S_ISREG(entry.st_mode):
        print(f"ESCAPED descriptor {number} is {target}")
        sys.exit(0)
print(f"BLOCKED {found} descriptors, none of them more than standard streams")
