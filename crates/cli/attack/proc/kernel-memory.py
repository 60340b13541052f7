# name: kernel-memory
# area: proc
# about: Reads kernel memory and addresses: kcore, kallsyms, modules, iomem, kmsg, page maps.
# expect: blocked
# control: host

import os
import sys

tried = 0
for path in ("/proc/kcore", "/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup",
             "/proc/vmcore", "/dev/mem", "/dev/kmem"):
    tried += 1
    try:
        # An empty bind of /dev/null masks as well as a refusal does.
        with open(path, "rb", buffering=0, opener=lambda p, f: os.open(p, f | os.O_NONBLOCK)) as file:
            if file.read(1):
                print(f"ESCAPED {path} can be read")
                sys.exit(0)
    except OSError:
        pass
for path, column in (("/proc/kallsyms", 0), ("/proc/modules", 5), ("/proc/iomem", 0), ("/proc/vmallocinfo", 0)):
    tried += 1
    try:
        with open(path) as file:
            for line in file:
                fields = line.split()
                address = fields[column].split("-")[0].removeprefix("0x") if len(fields) > column else "0"
                if int(address, 16) != 0:
                    print(f"ESCAPED {path} tells an address of the kernel")
                    sys.exit(0)
    except (OSError, ValueError):
        pass
try:
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(id(sys) // 4096 * 8)
        if int.from_bytes(file.read(8), "little") & ((1 << 55) - 1):
            print("ESCAPED /proc/self/pagemap tells physical addresses")
            sys.exit(0)
except OSError:
    pass
print(f"BLOCKED {tried} files tell nothing of the kernel")
