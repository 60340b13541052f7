# name: disk-filler
# area: resources
# about: Writes to every writable place until it is refused, at most 3 GiB.
# expect: contained
# limits: disk=64Mi memory=512Mi timeout=120s

import os

limit = int(os.environ.get("ATTACK_LIMIT_DISK") or 1 << 30)
block, report, total = b"Z" * (4 << 20), [], 0
for place in ("/workspace", os.path.expanduser("~"), "/var/tmp", "/var/cache", "/opt", "/usr/local", "/"):
    written = 0
    try:
        for index in range(64):
            with open(f"{place}/attack-disk-{index}", "xb", buffering=0) as file:
                while total < 3 << 30 and written < (index + 1) * (256 << 20):
                    count = file.write(block)
                    written += count
                    total += count
    except OSError:
        pass
    if written:
        report.append(f"{place} {written >> 20} MiB")
    if total >= 3 << 30:
        break
# The writable places share one limit; a tenth more is allowed for what the file system adds.
if total > limit + limit // 10 + (16 << 20):
    print(f"ESCAPED wrote {total >> 20} MiB: {', '.join(report)}")
else:
    print(f"BLOCKED {', '.join(report) or 'nothing could be written'}")
