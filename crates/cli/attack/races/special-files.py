# name: special-files
# area: races
# about: Leaves pipes, sockets and unreadable files in the workspace, on which a reader would block.
# expect: contained

import os
import socket

made = []
for index in range(8):
    try:
        os.mkfifo(f"fifo-{index}.txt")
        made.append("fifo")
    except OSError:
        pass
    try:
        socket.socket(socket.AF_UNIX).bind(f"socket-{index}.txt")
        made.append("socket")
    except OSError:
        pass
for index, mode in enumerate((0o000, 0o111, 0o4755, 0o2755, 0o1777, 0o6777)):
    with open(f"mode-{index}.txt", "w") as file:
        file.write("x")
    os.chmod(f"mode-{index}.txt", mode)
    made.append("mode")
# A lock that is never given up must not hold up whoever reads.
if os.fork() == 0:
    os.setsid()
    import fcntl
    import time
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    with open("locked.txt", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            pass
        time.sleep(60)
    os._exit(0)
print(f"BLOCKED left {len(made)} files that are no plain files, and a lock")
