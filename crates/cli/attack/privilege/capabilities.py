# name: capabilities
# area: privilege
# about: Holds a capability: any at all in strict, any but the eight allowed ones as root in dev.
# expect: blocked
# control: host

import os

# chown dac_override fowner fsetid kill setgid setuid net_bind_service
ALLOWED = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 10
dev = os.environ.get("ATTACK_PROFILE") == "dev"
status = dict(line.rstrip("\n").split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
sets = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
wrong = []
for name, value in sets.items():
    # In dev the bounding set may name them for every user: it alone gives nothing.
    root = dev and (os.getuid() == 0 or name == "CapBnd")
    if value & ~(ALLOWED if root else 0):
        wrong.append(f"{name}={value:x}")
if wrong:
    print("ESCAPED " + " ".join(wrong))
else:
    print("BLOCKED " + " ".join(f"{name}={value:x}" for name, value in sets.items()))
