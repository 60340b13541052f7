# name: readonly-root
# area: files
# about: Writes to /, /usr, /etc and the other parts of the root that only inside-root of dev may change.
# expect: blocked
# users: user
# control: host

import os
import sys

places = ["/", "/usr", "/usr/bin", "/usr/lib", "/usr/local/bin", "/etc", "/bin", "/sbin", "/lib",
          "/var", "/var/lib", "/opt", "/root", "/home", "/dev", "/proc", "/sys"]
last = None
for place in places:
    path = os.path.join(place, f".sandkeep-attack-{os.getpid()}")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(path)
        print(f"ESCAPED made a file in {place}")
        sys.exit(0)
    except OSError as error:
        last = error
for path in ("/etc/passwd", "/etc/ld.so.preload", "/etc/ld.so.cache", "/usr/bin/env", "/bin/sh"):
    for attempt in (lambda p: os.close(os.open(p, os.O_WRONLY)), lambda p: os.chmod(p, 0o777),
                    lambda p: os.utime(p), lambda p: os.rename(p, p + ".x")):
        try:
            attempt(path)
            print(f"ESCAPED changed {path}")
            sys.exit(0)
        except OSError as error:
            last = error
print(f"BLOCKED {len(places)} directories and 5 files, last: {last}")
