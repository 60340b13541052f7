# name: workspace
# area: siblings
# about: Finds the marker file of another live sandbox anywhere it can look.
# expect: blocked
# canary: ATTACK_OTHER_SANDBOX

import glob
import os
import sys
import time

marker = os.environ.get("ATTACK_OTHER_SANDBOX") or sys.exit(2)
name = "marker-" + marker
paths = ["/workspace/" + name]
for pattern in ("/proc/[0-9]*/root/workspace", "/proc/[0-9]*/cwd", "/run/sandkeep*", "/var/lib/sandkeep*",
                "/tmp/sandkeep*", "/run/user/*/sandkeep*", "/workspace/..", "/workspace/../" + marker,
                "/proc/self/fd/*", "/proc/1/fd/*"):
    for place in glob.glob(pattern):
        paths += [os.path.join(place, name), os.path.join(place, marker), os.path.join(place, marker, name)]
for path in paths:
    if os.path.lexists(path):
        print(f"ESCAPED {path} belongs to another sandbox")
        sys.exit(0)
end, seen = time.monotonic() + 15, 0
for folder, folders, names in os.walk("/"):
    if folder == "/":
        folders[:] = [f for f in folders if f not in ("proc", "sys", "usr")]
    seen += len(names)
    if name in names or marker in folders:
        print(f"ESCAPED {folder} holds the marker of another sandbox")
        sys.exit(0)
    if time.monotonic() > end:
        break
print(f"BLOCKED {len(paths)} paths and {seen} files, no trace of the other sandbox")
