# name: handler-vanish
# area: inherit
# about: A handler that writes half an answer, closes everything and ends without returning.
# expect: contained
# kind: handler
# limits: timeout=20s

import os
import signal
import stat


def handler(event, context):
    print("BLOCKED half an answer, then gone", flush=True)
    for number in range(3, 64):
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                os.set_blocking(number, False)
                os.write(number, b'{"value": "ha')
        except OSError:
            pass
    os.closerange(0, 1024)
    os.kill(os.getpid(), signal.SIGKILL)
