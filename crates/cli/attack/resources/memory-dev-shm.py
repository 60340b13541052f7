# name: memory-dev-shm
# area: resources
# about: Fills /dev/shm, through files and through a mapping of one.
# expect: contained
# limits: memory=256Mi timeout=60s

import mmap
import os

limit = int(os.environ.get("ATTACK_LIMIT_MEMORY") or 512 << 20)
ceiling, total = limit + (2 << 30), 0
try:
    for index in range(64):
        with open(f"/dev/shm/attack-{index}", "wb", buffering=0) as file:
            for _ in range(64):
                total += file.write(b"Z" * (1 << 20))
                if total >= ceiling:
                    raise MemoryError
except OSError as error:
    print(f"BLOCKED {total >> 20} MiB, then {error.strerror}", flush=True)
    raise SystemExit(0)
except MemoryError:
    print(f"ESCAPED wrote {total >> 20} MiB into /dev/shm")
    raise SystemExit(0)
print(f"ESCAPED wrote {total >> 20} MiB into /dev/shm")
