# name: dev-contents
# area: devices
# about: Finds a device in /dev that is not among the harmless ones.
# expect: blocked
# control: host

import os
import stat
import sys

harmless = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)}  # null zero full random urandom tty ptmx
seen = 0
for folder, _, names in os.walk("/dev"):
    for name in names:
        path = os.path.join(folder, name)
        try:
            entry = os.stat(path)
        except OSError:
            continue
        if not (stat.S_ISCHR(entry.st_mode) or stat.S_ISBLK(entry.st_mode)):
            continue
        seen += 1
        number = (os.major(entry.st_rdev), os.minor(entry.st_rdev))
        # Majors 136 to 143 are pseudo terminals; the program ptmx judges those.
        if number not in harmless and not 136 <= number[0] <= 143:
            print(f"ESCAPED {path} is device {number[0]}:{number[1]}")
            sys.exit(0)
print(f"BLOCKED {seen} devices, all harmless")
