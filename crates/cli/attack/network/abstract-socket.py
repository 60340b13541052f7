# name: abstract-socket
# area: network
# about: Connects to an abstract unix socket of the host, which has no file to protect it.
# expect: blocked
# canary: ATTACK_HOST_ABSTRACT
# control: host

import os
import socket
import sys

name = os.environ.get("ATTACK_HOST_ABSTRACT") or sys.exit(2)
last = None
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    with socket.socket(socket.AF_UNIX, kind) as attempt:
        try:
            attempt.connect(b"\0" + os.fsencode(name))
            print("ESCAPED connected to the host's abstract socket")
            sys.exit(0)
        except OSError as error:
            # EPROTOTYPE means that it is there, only of another kind.
            if error.errno == 91:
                print("ESCAPED the host's abstract socket answers with a wrong type")
                sys.exit(0)
            last = error
try:
    with open("/proc/net/unix", "rb") as table:
        if os.fsencode(name) in table.read():
            print("ESCAPED /proc/net/unix lists the host's abstract socket")
            sys.exit(0)
except OSError as error:
    last = error
print(f"BLOCKED {last}")
