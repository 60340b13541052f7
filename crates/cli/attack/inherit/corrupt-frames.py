# name: corrupt-frames
# area: inherit
# about: Writes broken frames of the agent's protocol to every descriptor it has or can open of PID 1.
# expect: contained

import os
import socket
import struct

payloads = [b"\xff" * 64, b"\0" * 64, struct.pack("<I", 0xFFFFFFFF) + b"A" * 60,
            struct.pack(">I", 0x7FFFFFFF) + b"A" * 60, struct.pack("<IQ", 16, 1 << 63),
            b"\x02\xff\xff\xff\xff{}", b"\x00\x00\x00\x00\x02{}", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            bytes(range(256)) * 4]
written = 0
# Standard output and error carry bytes of any kind, so these must arrive as plain output.
targets = [number for number in range(256) if number not in (1, 2)] + [1, 2]
for number in targets:
    for payload in payloads:
        try:
            os.set_blocking(number, False)
            written += os.write(number, payload) > 0
        except OSError:
            pass
    try:
        with socket.socket(fileno=os.dup(number)) as channel:
            socket.send_fds(channel, [b"\xff" * 32], [0, 1, 2])
            written += 1
    except OSError:
        pass
for path in [f"/proc/1/fd/{n}" for n in range(64)] + [f"/proc/{os.getppid()}/fd/{n}" for n in range(64)]:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        written += os.write(handle, payloads[0]) > 0
        os.close(handle)
        print(f"\nESCAPED wrote into {path}", flush=True)
        raise SystemExit(0)
    except OSError:
        pass
for number in (1, 2):
    os.set_blocking(number, True)
print(f"\nBLOCKED {written} writes were accepted, all on own streams")
