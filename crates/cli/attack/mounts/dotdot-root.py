# name: dotdot-root
# area: mounts
# about: Climbs above the root by `..`, from every directory it can hold, by name and by descriptor.
# expect: blocked

import os
import sys

root = os.stat("/")


def same(entry):
    return (entry.st_dev, entry.st_ino) == (root.st_dev, root.st_ino)


starts = [p for p in ("/", "/tmp", "/workspace", "/dev/shm", "/proc", "/proc/self", "/usr/lib",
                      "/proc/self/root", "/proc/self/cwd", "/proc/1/root", "/proc/1/cwd", ".")
          if os.path.isdir(p)]
for start in starts:
    if not same(os.stat(start + "/.." * 64)):
        print(f"ESCAPED {start} and 64 times .. is not /")
        sys.exit(0)
    here = os.open(start, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(64):
        above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = above
    if not same(os.fstat(here)):
        print(f"ESCAPED 64 descriptors up from {start} is not /")
        sys.exit(0)
    os.close(here)
# A directory moved while one stands in it: the walk up must still end at the root.
os.makedirs("/tmp/attack-up/a/b", exist_ok=True)
os.chdir("/tmp/attack-up/a/b")
os.rename("/tmp/attack-up/a/b", "/tmp/attack-b")
if not same(os.stat("../" * 64)) or os.getcwd() != "/tmp/attack-b":
    print("ESCAPED a moved directory leads elsewhere")
    sys.exit(0)
print(f"BLOCKED {len(starts)} starting points end at /")
