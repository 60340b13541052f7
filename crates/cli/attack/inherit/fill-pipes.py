# name: fill-pipes
# area: inherit
# about: Makes the agent's pipes as small and as full as it can, and leaves its input unread.
# expect: contained

import fcntl
import os

F_SETPIPE_SZ = 1031
done = []
for number in (0, 1, 2):
    try:
        fcntl.fcntl(number, F_SETPIPE_SZ, 4096)
        done.append(f"shrunk {number}")
    except OSError:
        pass
try:
    # Stuffing the input from this side leaves the agent nowhere to write. Bounded, since
    # an input from /dev/null would swallow without end.
    handle = os.open("/proc/self/fd/0", os.O_WRONLY | os.O_NONBLOCK)
    for _ in range(4096):
        os.write(handle, b"\xff" * 4096)
except BlockingIOError:
    done.append("stuffed the input")
except OSError:
    pass
try:
    # A second reader of the output steals from the agent what it should read.
    handle = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    os.write(1, b"stolen\n" * 64)
    os.read(handle, 65536)
    os.close(handle)
    done.append("read back its own output")
except OSError:
    pass
for _ in range(64):
    os.write(1, b"x" * 65536)
    os.write(2, b"y" * 65536)
print(f"\nBLOCKED {', '.join(done) or 'nothing'}; 8 MiB of output went through")
