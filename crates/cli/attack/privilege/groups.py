# name: groups
# area: privilege
# about: Keeps supplementary groups of the host, such as docker or disk, which open what they own there.
# expect: blocked
# needs: id-range
# control: host

import os

# Inside, a host group that is not mapped shows as the overflow group. Run unconfined,
# the harness adds one group, so that the check can be seen to fail.
own = {os.getgid(), os.getegid()}
allowed = own | ({0} if os.getuid() == 0 else set())
foreign = sorted(set(os.getgroups()) - allowed)
if foreign:
    print(f"ESCAPED also a member of groups {foreign}")
else:
    print(f"BLOCKED only group {sorted(own)}")
