# name: unix-scan
# area: network
# about: Lists the unix sockets of the network namespace for those of host services (CVE-2020-15257).
# expect: blocked
# control: host

import os
import sys

# Nothing but the code may have named sockets here; in dev, there is the one through which sudo asks.
expected = {"/run/sudo.sock"} if os.environ.get("ATTACK_PROFILE") == "dev" else set()
TIME_WAIT = "06"
named = []
try:
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            if len(fields) > 7 and fields[7] not in expected:
                named.append(fields[7])
except OSError as error:
    print(f"BLOCKED /proc/net/unix: {error}")
    sys.exit(0)
listening = []
for family in ("tcp", "tcp6", "udp", "udp6"):
    try:
        with open("/proc/net/" + family, encoding="utf-8") as table:
            sockets = [line.split() for line in table.readlines()[1:]]
            # What the kernel keeps of a connection for a minute after its end is nobody's.
            listening += [family + " " + socket[1] for socket in sockets if socket[3] != TIME_WAIT]
    except OSError:
        pass
if named:
    print(f"ESCAPED {len(named)} named unix sockets, the first is {named[0]!r}")
elif listening:
    print(f"ESCAPED {len(listening)} inet sockets are open, the first is {listening[0]}")
else:
    print("BLOCKED no named unix socket and no inet socket in this namespace")
