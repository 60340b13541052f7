# name: side-files
# area: siblings
# about: Leaves and looks for marks in places that sandboxes might share: /tmp, /dev/shm, /run, /var/tmp, /dev/mqueue.
# expect: blocked
# canary: ATTACK_OTHER_SANDBOX

import os
import sys

marker = os.environ.get("ATTACK_OTHER_SANDBOX") or sys.exit(2)
left = 0
for place in ("/tmp", "/dev/shm", "/run", "/var/tmp", "/dev/mqueue", "/run/lock", "/run/shm", "/workspace"):
    try:
        names = os.listdir(place)
    except OSError:
        continue
    for name in names:
        if marker in name or name.startswith("attack-left-by-"):
            mine = name == f"attack-left-by-{os.environ.get('ATTACK_SANDBOX', '')}"
            if not mine:
                print(f"ESCAPED {place}/{name} was left by another sandbox")
                sys.exit(0)
    try:
        path = f"{place}/attack-left-by-{os.environ.get('ATTACK_SANDBOX', '')}"
        with open(path, "w") as file:
            file.write("x")
        left += 1
    except OSError:
        pass
print(f"BLOCKED no foreign mark in shared places, left {left} for the next sandbox to find")
