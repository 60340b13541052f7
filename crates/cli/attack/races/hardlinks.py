# name: hardlinks
# area: races
# about: Hard links files that are not its own into places it may write, to change or keep them.
# expect: blocked
# users: user
# canary: ATTACK_HOST_SECRET_PATH
# control: host

import os
import sys

secret = os.environ.get("ATTACK_HOST_SECRET_PATH") or sys.exit(2)
targets = [secret, "/usr/bin/env", "/etc/passwd", "/proc/self/exe", "/proc/1/exe", "/dev/null",
           "/proc/1/root" + secret, "/usr/bin/python3"]
tried = 0
for place in (".", "/workspace", "/tmp", "/dev/shm", "/home/user", "/run", "/usr/bin", "/etc"):
    for target in targets:
        name = os.path.join(place, f"attack-link-{os.getpid()}")
        for follow in (True, False):
            tried += 1
            try:
                # Not following would make a second name of a symbolic link, which is harmless.
                if not follow and os.path.islink(target):
                    continue
                os.link(target, name, follow_symlinks=follow)
            except OSError as error:
                last = error
                continue
            os.unlink(name)
            print(f"ESCAPED {target} got a second name in {place}")
            sys.exit(0)
        try:
            handle = os.open(target, os.O_PATH)
            os.link(f"/proc/self/fd/{handle}", name, follow_symlinks=True)
            os.unlink(name)
            print(f"ESCAPED {target} got a second name in {place} by its descriptor")
            sys.exit(0)
        except OSError as error:
            last = error
print(f"BLOCKED {tried} hard links, last: {last.strerror}")
