# name: id-map
# area: privilege
# about: Reads its id maps for host id 0 or an overlap with ids that are in use on the host.
# expect: blocked
# control: host

import os
import sys

# In dev, code has a user namespace inside that of the sandbox, and its map shows ids of the latter, so that 0 is not the
# host's: there the harness looks at the maps from the host.
nested = os.environ.get("ATTACK_PROFILE") == "dev"
total = {}
for kind in ("uid", "gid"):
    try:
        lines = [tuple(map(int, line.split())) for line in open(f"/proc/self/{kind}_map")]
    except OSError as error:
        print(f"BLOCKED {kind}_map: {error}")
        sys.exit(0)
    for inside, outside, count in lines:
        if outside == 0 and not nested:
            print(f"ESCAPED {kind} {inside} inside is 0 outside")
            sys.exit(0)
        if outside + count > 1 << 32 or count > 1 << 20:
            print(f"ESCAPED {kind} {inside} maps {count} ids from {outside}")
            sys.exit(0)
    if not lines:
        print(f"ESCAPED {kind}_map is empty")
        sys.exit(0)
    for file in ("uid_map", "gid_map"):
        try:
            with open("/proc/self/" + file, "w") as writable:
                writable.write("0 0 1\n")
            print(f"ESCAPED /proc/self/{file} accepted a second write")
            sys.exit(0)
        except OSError:
            pass
    total[kind] = sum(count for _, _, count in lines)
print(f"BLOCKED {total['uid']} users and {total['gid']} groups, all of them mapped once and as they may be")
