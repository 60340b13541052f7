# name: handler-flood
# area: inherit
# about: A handler that pours up to 1 GiB into its return channel, and returns a value of 64 MiB.
# expect: contained
# kind: handler
# limits: timeout=20s

import os
import stat
import time


def handler(event, context):
    block, total, end = b"[" * 65536, 0, time.monotonic() + 8
    for number in range(3, 64):
        try:
            if stat.S_ISREG(os.fstat(number).st_mode):
                continue
            os.set_blocking(number, False)
        except OSError:
            continue
        while total < 1 << 30 and time.monotonic() < end:
            try:
                total += os.write(number, block)
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                break
    print(f"BLOCKED poured {total} bytes into the channel", flush=True)
    return "v" * (64 << 20)
