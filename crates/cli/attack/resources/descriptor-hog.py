# name: descriptor-hog
# area: resources
# about: Opens descriptors until it is refused, after raising its own limit as far as it goes.
# expect: contained
# limits: timeout=60s

import os
import resource

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
limit = int(os.environ.get("ATTACK_LIMIT_OPEN_FILES") or 1 << 20)
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
except (OSError, ValueError):
    pass
opened = 0
try:
    while opened < (1 << 20) + 16:
        os.dup(0)
        opened += 1
        if opened > limit:
            break
except OSError as error:
    print(f"BLOCKED refused after {opened} descriptors: {error.strerror}")
    raise SystemExit(0)
print(f"ESCAPED opened {opened} descriptors")
