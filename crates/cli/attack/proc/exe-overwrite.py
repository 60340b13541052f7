# name: exe-overwrite
# area: proc
# about: Overwrites the agent's program through /proc/PID/exe while the agent starts it (CVE-2019-5736).
# expect: blocked
# control: namespace

import os
import sys

tried = 0
for pid in {1} - {os.getpid()}:
    path = f"/proc/{pid}/exe"
    for flags in (os.O_WRONLY, os.O_RDWR):
        tried += 1
        try:
            os.close(os.open(path, flags))
            print(f"ESCAPED {path} opens for writing")
            sys.exit(0)
        except OSError as error:
            # Busy means that only the running program stands in the way: wait and it opens.
            if error.errno == 26:
                print(f"ESCAPED {path} may be written once it does not run")
                sys.exit(0)
            last = error
    try:
        handle = os.open(path, os.O_PATH)
    except OSError as error:
        last = error
        continue
    try:
        os.close(os.open(f"/proc/self/fd/{handle}", os.O_WRONLY))
        print(f"ESCAPED {path} opens for writing by way of a path descriptor")
        sys.exit(0)
    except OSError as error:
        if error.errno == 26:
            print(f"ESCAPED {path} may be written once it does not run")
            sys.exit(0)
        last = error
print(f"BLOCKED {tried} attempts, last: {last}")
