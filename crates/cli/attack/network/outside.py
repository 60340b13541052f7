# name: outside
# area: network
# about: Looks for an interface, a route or a resolver that leads out of the sandbox.
# expect: blocked
# control: host

import socket
import sys

interfaces = [name for _, name in socket.if_nameindex() if name != "lo"]
# Devices that the kernel adds to every new namespace, unusable without configuration.
interfaces = [n for n in interfaces
              if not n.startswith(("tunl", "sit", "ip6tnl", "gre", "erspan", "ip_vti", "ip6_vti",
                                   "ip6gre"))]
if interfaces:
    print("ESCAPED interfaces besides lo: " + " ".join(interfaces))
    sys.exit(0)
last = None
for address in ["1.1.1.1", "8.8.8.8", "10.0.0.1", "172.17.0.1", "192.168.0.1", "192.0.2.1",
                "2606:4700:4700::1111", "fe80::1"]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 53))
        print(f"ESCAPED there is a route to {address}")
        sys.exit(0)
    except OSError as error:
        last = error
try:
    print("ESCAPED resolved example.com to " + socket.gethostbyname("example.com"))
    sys.exit(0)
except OSError as error:
    last = error
print(f"BLOCKED only lo, no route out, last: {last}")
