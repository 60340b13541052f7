# name: holds-output
# area: endurance
# about: A daemon keeps standard output open after the program ended, so that its end of file never comes.
# expect: contained
# limits: timeout=10s

import ctypes
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    ctypes.CDLL(None).prctl(15, b"atk-daemon", 0, 0, 0)
    time.sleep(120)
    os._exit(0)
os.wait()
print("BLOCKED ended while a daemon holds the output open", flush=True)
