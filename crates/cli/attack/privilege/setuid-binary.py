# name: setuid-binary
# area: privilege
# about: Starts every set-user-id, set-group-id and capability-carrying program of the root and watches its ids.
# expect: blocked
# users: user

import os
import stat
import subprocess
import sys
import time


def ids(pid):
    with open(f"/proc/{pid}/status") as status:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    return lines["Uid"].split() + lines["Gid"].split(), int(lines["CapEff"], 16)


if os.geteuid() == 0:
    print("ESCAPED runs as user 0 already")
    sys.exit(0)
expected = ids(os.getpid())
candidates = []
for folder in ("/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/lib", "/usr/libexec", "/usr/local/bin"):
    for where, _, names in os.walk(folder):
        for path in (os.path.join(where, name) for name in names):
            try:
                mode = os.lstat(path).st_mode
                special = stat.S_ISREG(mode) and (
                    mode & (stat.S_ISUID | stat.S_ISGID)
                    or "security.capability" in os.listxattr(path))
            except OSError:
                continue
            if special and os.access(path, os.X_OK):
                candidates.append(path)
for path in sorted(set(candidates)):
    try:
        child = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, start_new_session=True)
    except OSError:
        continue
    end = time.monotonic() + 0.1
    while time.monotonic() < end and child.poll() is None:
        try:
            if os.readlink(f"/proc/{child.pid}/exe") == os.path.realpath(path) and ids(child.pid) != expected:
                print(f"ESCAPED {path} runs with ids {ids(child.pid)}")
                child.kill()
                sys.exit(0)
        except (OSError, KeyError):
            break  # Non-dumpable after a change of ids, or gone.
        time.sleep(0.002)
    child.kill()
    child.wait()
print(f"BLOCKED {len(candidates)} such programs, none gained an id")
