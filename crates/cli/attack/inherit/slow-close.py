# name: slow-close
# area: inherit
# about: Hands the agent sockets whose last close sleeps for hours, so that it does nothing else meanwhile.
# expect: blocked
# profiles: dev

import array
import socket
import struct
import time

HOURS = struct.pack("ii", 1, 30000)


def lingering():
    """Two ends of a connection; the first has sent what the second never reads."""
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.socket()
    # Before there is a connection, which would be seen here for a minute after its end.
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, HOURS)
    sender.connect(listener.getsockname())
    receiver, _ = listener.accept()
    sender.setblocking(False)
    try:
        while True:
            sender.send(b"x" * 65536)
    except BlockingIOError:
        return sender, receiver


def hand_over(end):
    """Leaves a socket in a request to sudo that never becomes whole."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("/run/sudo.sock")
    descriptors = array.array("i", [end.fileno()])
    connection.sendmsg([b"\xff\xff\x00\x00"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    return connection


try:
    sender, receiver = lingering()
except PermissionError:
    print("BLOCKED no socket can be made to linger")
else:
    kept = hand_over(receiver)
    given = hand_over(sender)
    time.sleep(0.2)
    sender.close()
    receiver.close()
    # Now the agent holds the last copies, and closes the one that sends.
    given.close()
    time.sleep(0.2)
    print("ESCAPED the agent closed a lingering socket", flush=True)
