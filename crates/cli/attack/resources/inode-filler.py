# name: inode-filler
# area: resources
# about: Makes empty files, links and directories until it is refused, at most 400,000.
# expect: contained
# limits: disk=64Mi inodes=5000 timeout=120s

import os

limit = int(os.environ.get("ATTACK_LIMIT_INODES") or 300000)
bound, made, report = min(2 * limit, 400000), 0, []
for place in (".", os.path.expanduser("~"), "/tmp", "/dev/shm", "/run", "/var/tmp"):
    before = made
    folder = os.path.join(place, "attack-inodes")
    try:
        os.makedirs(folder, exist_ok=True)
        while made < bound:
            path = f"{folder}/{made}"
            if made % 3 == 0:
                os.mkdir(path)
            elif made % 3 == 1:
                os.symlink("x", path)
            else:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            made += 1
    except OSError:
        pass
    if made > before:
        report.append(f"{place} {made - before}")
# Small file systems of their own (/tmp, /dev/shm, /run) may add theirs, but not without end.
if made >= bound:
    print(f"ESCAPED made {made} inodes: {', '.join(report)}")
else:
    print(f"BLOCKED {', '.join(report) or 'nothing could be made'}")
