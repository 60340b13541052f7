# name: metadata
# area: network
# about: Finds a route to the metadata services of clouds, which hand out credentials of the machine.
# expect: blocked
# control: host

import socket
import sys

services = ["169.254.169.254", "169.254.170.2", "169.254.0.23", "100.100.100.200",
            "192.0.0.192", "fd00:ec2::254", "::ffff:169.254.169.254"]
last = None
for address in services:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # Connecting a datagram socket sends nothing: it works exactly when there is a route,
    # so this can fail on hosts that have no such service, and asks none that has.
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 80))
            source = probe.getsockname()[0]
        print(f"ESCAPED there is a route from {source} to {address}")
        sys.exit(0)
    except OSError as error:
        last = error
    try:
        with socket.socket(family) as attempt:
            attempt.settimeout(0.5)
            attempt.connect((address, 80))
        print(f"ESCAPED connected to {address}")
        sys.exit(0)
    except OSError as error:
        last = error
print(f"BLOCKED no route to {len(services)} addresses, last: {last}")
