# name: memfd-agent
# area: ipc
# about: Finds the agent's memfds (its own program, pools, queues) through /proc and opens them.
# expect: blocked

import os
import sys

tried = 0
own = {os.getpid()}
for pid in sorted(int(n) for n in os.listdir("/proc") if n.isdigit()):
    if pid in own:
        continue
    for path in [f"/proc/{pid}/exe"] + [f"/proc/{pid}/fd/{n}" for n in range(64)]:
        try:
            target = os.readlink(path)
        except OSError:
            tried += 1
            continue
        if "memfd:" not in target:
            continue
        try:
            os.close(os.open(path, os.O_RDWR))
            print(f"ESCAPED {path} is {target} and opens for writing")
            sys.exit(0)
        except OSError as error:
            if error.errno == 26:  # ETXTBSY: permission was granted, only it runs just now
                print(f"ESCAPED {path} is {target} and may be written once it is not running")
                sys.exit(0)
            tried += 1
    for path in (f"/proc/{pid}/maps", f"/proc/{pid}/map_files"):
        try:
            text = " ".join(os.listdir(path)) if path.endswith("files") else open(path).read()
            if pid == 1 and text:
                print(f"ESCAPED {path} is readable")
                sys.exit(0)
        except OSError:
            tried += 1
print(f"BLOCKED {tried} links and files of other processes refused")
