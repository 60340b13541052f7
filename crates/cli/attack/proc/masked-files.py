# name: masked-files
# area: proc
# about: Reads what container runtimes mask in /proc and /sys: keys, timers, interrupts, acpi, scsi, firmware.
# expect: blocked
# control: host

import os
import sys

# The list of the widely used container default.
masked = ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
          "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
          "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
          "/sys/devices/system/cpu/cpu0/thermal_throttle"]
for path in masked:
    try:
        if os.path.isdir(path):
            shown = os.listdir(path)
        else:
            with open(path, "rb", buffering=0) as file:
                shown = file.read(1)
    except OSError:
        continue
    if shown:
        print(f"ESCAPED {path} is not masked")
        sys.exit(0)
print(f"BLOCKED {len(masked)} paths are empty or refused")
