# name: handler-hold
# area: inherit
# about: A handler that leaves a daemon behind which keeps its return channel and its output open.
# expect: contained
# kind: handler
# limits: timeout=10s

import ctypes
import os
import time


def handler(event, context):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"atk-daemon", 0, 0, 0)
            time.sleep(120)  # Bounded, in case nobody ends it.
        os._exit(0)
    # The answer is complete when this returns; waiting for the end of the file would hang.
    print("BLOCKED returned while a daemon holds every descriptor", flush=True)
    return None
