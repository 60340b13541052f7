# name: exposed-modes
# area: files
# about: Finds, in the host's trees that are shown read-only, a socket, or a file that others may not read and it can.
# expect: blocked
# control: host

import os
import stat
import sys
import time

end = time.monotonic() + 20
seen = private = 0
for top in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/etc"):
    if os.path.islink(top):
        continue
    for folder, folders, names in os.walk(top):
        for name in names + folders:
            path = os.path.join(folder, name)
            try:
                entry = os.lstat(path)
            except OSError:
                continue
            seen += 1
            if stat.S_ISSOCK(entry.st_mode):
                print(f"ESCAPED {path} is a socket in a read-only tree")
                sys.exit(0)
            # In dev, inside-root may read what belongs to itself in its own overlay.
            mine = entry.st_uid == os.getuid() and os.environ.get("ATTACK_PROFILE") == "dev"
            if not stat.S_ISREG(entry.st_mode) or entry.st_mode & stat.S_IROTH or mine:
                continue
            private += 1
            try:
                os.close(os.open(path, os.O_RDONLY))
                print(f"ESCAPED {path} has mode {entry.st_mode & 0o7777:o} and opens")
                sys.exit(0)
            except OSError:
                pass
        if time.monotonic() > end:
            break
print(f"BLOCKED {seen} entries, {private} private ones refused, no socket")
