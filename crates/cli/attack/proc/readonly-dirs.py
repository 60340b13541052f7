# name: readonly-dirs
# area: proc
# about: Opens files for writing in /proc/bus, fs, irq, driver and acpi, and those directly in /proc.
# expect: blocked
# control: host

import os
import sys

tried = 0
paths = ["/proc/mtrr", "/proc/slabinfo", "/proc/timer_stats", "/proc/sched_debug"]
for top in ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/driver", "/proc/acpi", "/proc/scsi",
            "/proc/dynamic_debug", "/proc/pressure", "/proc/tty", "/proc/sysvipc"):
    for folder, _, names in os.walk(top):
        paths += [os.path.join(folder, name) for name in names]
for path in paths:
    # Pressure files may be opened by anyone to set a trigger on the reader itself.
    if path.startswith("/proc/pressure"):
        continue
    tried += 1
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        print(f"ESCAPED {path} opens for writing")
        sys.exit(0)
    except OSError:
        pass
print(f"BLOCKED {tried} files refuse writing")
