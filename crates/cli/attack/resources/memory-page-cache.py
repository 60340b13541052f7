# name: memory-page-cache
# area: resources
# about: Reads and writes files far beyond its memory limit; the cache must be given back, not killed for.
# expect: contained
# limits: memory=128Mi timeout=60s

import os
import time

limit = int(os.environ.get("ATTACK_LIMIT_MEMORY") or 512 << 20)
total, end = 0, time.monotonic() + 20
for folder, _, names in os.walk("/usr"):
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb", buffering=0) as file:
                while chunk := file.read(1 << 20):
                    total += len(chunk)
        except OSError:
            pass
        if total > 4 * limit or time.monotonic() > end:
            break
    if total > 4 * limit or time.monotonic() > end:
        break
print(f"BLOCKED read {total >> 20} MiB and still runs")
