# name: warm-starve
# area: warm
# about: Takes all processes and all memory, in the hope that the interpreter dies of it or that the next fork fails.
# expect: contained
# profiles: strict
# users: user
# needs: warm
# limits: timeout=10s memory=128Mi pids=64

import gc
import os
import sys

if gc.get_freeze_count() < 5000:
    print("this program is no fork")
    sys.exit(2)
for _ in range(200):
    try:
        if os.fork() == 0:
            break
    except OSError:
        break
hoard = []
while True:
    try:
        hoard.append(bytearray(1 << 20))
    except MemoryError:
        hoard = []
