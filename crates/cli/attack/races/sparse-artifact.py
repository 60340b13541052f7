# name: sparse-artifact
# area: races
# about: Leaves a file of 1 TiB without content and one that keeps growing, for the collector to hash.
# expect: contained
# limits: timeout=20s

import os
import time

sizes = []
for exponent in (40, 43, 33):
    try:
        with open(f"sparse-{exponent}.bin", "wb") as file:
            file.truncate(1 << exponent)
        sizes.append(exponent)
    except OSError:
        pass
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    end, total = time.monotonic() + 15, 0
    with open("growing.log", "ab", buffering=0) as file:
        while time.monotonic() < end and total < 64 << 20:
            try:
                total += file.write(b"more\n" * 800)
            except OSError:
                break
            time.sleep(0.001)
    os._exit(0)
os.wait()
print(f"BLOCKED left sparse files of 2^{sizes} bytes and a growing one")
