# name: raw-open
# area: devices
# about: Opens memory, disks, loop, fuse, kvm, tun, input and graphics devices by their usual names.
# expect: blocked
# control: host

import glob
import os
import sys

# No watchdog here: where opening one works, it would restart the machine.
names = ["mem", "kmem", "port", "kmsg", "sda", "vda", "xvda", "nvme0n1", "dm-0", "loop0",
         "loop-control", "mapper/control", "fuse", "cuse", "kvm", "vhost-net", "vhost-vsock",
         "net/tun", "uinput", "input/event0", "dri/card0", "fb0", "nbd0", "sg0", "hpet", "rtc0",
         "btrfs-control", "cpu/0/msr", "cpu_dma_latency", "hwrng", "tpm0", "vfio/vfio", "nvram"]
paths = ["/dev/" + n for n in names] + glob.glob("/dev/sd?") + glob.glob("/dev/vd?")
for path in paths:
    for flags in (os.O_RDONLY, os.O_RDWR):
        try:
            os.close(os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC))
            print(f"ESCAPED opened {path}")
            sys.exit(0)
        except OSError as error:
            last = error
print(f"BLOCKED {len(paths)} device names, last: {last}")
