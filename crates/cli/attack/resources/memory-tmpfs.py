# name: memory-tmpfs
# area: resources
# about: Fills every tmpfs it can write to (/tmp, /run, /dev/shm, /var/tmp), which stays charged when the program is gone.
# expect: contained
# limits: memory=256Mi timeout=60s

import os

GIB = 1 << 30
limit = int(os.environ.get("ATTACK_LIMIT_MEMORY") or 512 << 20)
block, total, filled = b"Z" * (1 << 20), 0, []
for place in ("/tmp", "/run", "/var/tmp", "/dev", "/run/lock", os.path.expanduser("~")):
    before = total
    try:
        with open(f"{place}/attack-fill", "wb", buffering=0) as file:
            while total < limit + 2 * GIB:
                total += file.write(block)
    except OSError:
        pass
    if total > before:
        filled.append(f"{place} {(total - before) >> 20} MiB")
# What is left lies in memory: the next execution must still have room to run in.
if total >= limit:
    print(f"ESCAPED tmpfs took {total >> 20} MiB, the whole memory limit")
else:
    print(f"BLOCKED {', '.join(filled) or 'nothing could be filled'}")
