# name: environment
# area: inherit
# about: Finds a variable of the host's environment, the planted one or any that the sandbox has no reason to set.
# expect: blocked
# canary: ATTACK_HOST_ENV
# control: host

import os
import sys

bait = os.environ.get("ATTACK_HOST_ENV") or sys.exit(2)
known = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TERM", "SHELL", "PWD", "OLDPWD",
         "SHLVL", "_", "TMPDIR", "HOSTNAME", "TZ"}
prefixes = ("LC_", "PYTHON", "NODE_", "NPM_", "XDG_", "SANDKEEP_", "ATTACK_", "COLUMNS", "LINES")
if bait in os.environ:
    print(f"ESCAPED {bait} of the host is set")
    sys.exit(0)
foreign = sorted(n for n in os.environ if n not in known and not n.startswith(prefixes))
if foreign:
    print("ESCAPED unexpected variables: " + " ".join(foreign))
    sys.exit(0)
for pid in [n for n in os.listdir("/proc") if n.isdigit()]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            if b"\0" + bait.encode() + b"=" in b"\0" + file.read():
                print(f"ESCAPED process {pid} shows {bait} of the host")
                sys.exit(0)
    except OSError:
        pass
print(f"BLOCKED {len(os.environ)} variables, all the sandbox's own")
