# name: host-loopback
# area: network
# about: Connects to a port that listens on the host's loopback, by every name of it.
# expect: blocked
# canary: ATTACK_HOST_PORT
# control: host

import os
import socket
import sys

port = int(os.environ.get("ATTACK_HOST_PORT") or sys.exit(2))
names = ["127.0.0.1", "127.0.1.1", "127.255.255.254", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1",
         "localhost", "host.docker.internal", "10.0.2.2", "172.17.0.1", "192.168.122.1"]
last = None
for name in names:
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        with socket.socket(family) as attempt:
            attempt.settimeout(0.5)
            attempt.connect((name, port))
        print(f"ESCAPED connected to port {port} of the host by {name}")
        sys.exit(0)
    except OSError as error:
        last = error
print(f"BLOCKED {len(names)} addresses, last: {last}")
