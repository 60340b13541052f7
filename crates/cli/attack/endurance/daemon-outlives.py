# name: daemon-outlives
# area: endurance
# about: A daemon, forked twice, in a session of its own and deaf to signals, that tries to outlive the timeout.
# expect: timeout
# limits: timeout=2s

import ctypes
import os
import signal
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    ctypes.CDLL(None).prctl(15, b"atk-daemon", 0, 0, 0)
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with open("/workspace/heartbeat", "w") as file:
            file.write(str(time.time()))
        time.sleep(0.05)
    os._exit(0)
os.wait()
time.sleep(60)
print("ESCAPED slept for a minute")
