# name: host-trees
# area: files
# about: Finds the host's homes, logs, boot files, sources and state in the root file system.
# expect: blocked
# control: host

import os
import sys

# What a sandbox may have under these is its own: an empty directory or its own home.
own_home = {"user"}
checks = {"/boot": set(), "/usr/src": set(), "/usr/local/etc": set(), "/lost+found": set(),
          "/var/lib/docker": set(), "/var/lib/containerd": set(), "/var/lib/sandkeep": set(),
          "/var/spool/cron": set(), "/run/sandkeep/slots": set(), "/run/user": {str(os.getuid())},
          "/run/systemd": set(), "/run/udev": set(), "/var/log/journal": set(),
          "/home": own_home, "/srv": set(), "/media": set(), "/mnt": set()}
for path, allowed in checks.items():
    try:
        found = sorted(set(os.listdir(path)) - allowed)
    except OSError:
        continue
    if found:
        print(f"ESCAPED {path} shows {len(found)} entries of the host, such as {found[0]!r}")
        sys.exit(0)
for path in ("/var/log/syslog", "/var/log/auth.log", "/var/log/messages", "/vmlinuz", "/initrd.img",
             "/swapfile", "/.dockerenv"):
    if os.path.lexists(path):
        print(f"ESCAPED {path} of the host is visible")
        sys.exit(0)
print(f"BLOCKED {len(checks)} directories show nothing of the host")
