# name: dir-move
# area: races
# about: Moves directories out from under a walker, so that `..` of an open one leads somewhere else.
# expect: contained
# limits: timeout=20s

import os
import time

os.makedirs("walk/a/b/c/d", exist_ok=True)
os.makedirs("elsewhere", exist_ok=True)
for index in range(50):
    with open(f"walk/a/b/c/d/file-{index}", "w") as file:
        file.write("honest\n")
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    end = time.monotonic() + 15
    while time.monotonic() < end:
        try:
            os.rename("walk/a/b/c", "elsewhere/c")
            os.rename("elsewhere/c", "walk/a/b/c")
        except OSError:
            pass
    os._exit(0)
os.wait()
# The mount points themselves must not move, or what is collected would be another tree.
moved = []
for source in ("/workspace", "/tmp", "/dev/shm"):
    try:
        os.rename(source, source + ".moved")
        os.rename(source + ".moved", source)
        moved.append(source)
    except OSError:
        pass
print(f"ESCAPED moved {moved[0]}" if moved else "BLOCKED a daemon keeps moving directories")
