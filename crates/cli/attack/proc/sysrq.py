# name: sysrq
# area: proc
# about: Opens sysrq-trigger, by which one letter restarts the machine.
# expect: blocked

import os
import sys

for path in ("/proc/sysrq-trigger", "/proc/self/root/proc/sysrq-trigger",
             "/proc/1/root/proc/sysrq-trigger", "/proc/sys/kernel/sysrq"):
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND):
        try:
            os.close(os.open(path, flags))
            print(f"ESCAPED {path} opens for writing")
            sys.exit(0)
        except OSError as error:
            last = error
print(f"BLOCKED {last}")
