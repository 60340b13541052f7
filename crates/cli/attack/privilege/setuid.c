// name: setuid
// area: privilege
// about: Becomes user 0 or another user by each of the set*id calls.
// expect: blocked
// users: user
// control: host

#include "attack.h"

#include <grp.h>
#include <sys/fsuid.h>

ATTACK(setuid)
{
    gid_t groups[] = {0, 4, 6, 27, 999};
    MUST_REFUSE("setgroups", setgroups(5, groups));
    uid_t targets[] = {0, 65533};
    for (unsigned i = 0; i < 2; i++) {
        uid_t id = targets[i];
        // EINVAL is the kernel's answer for an id that is not mapped: as good as a refusal.
        MUST_FAIL("setuid", syscall(SYS_setuid, id));
        MUST_FAIL("setgid", syscall(SYS_setgid, id));
        MUST_FAIL("setreuid", syscall(SYS_setreuid, id, id));
        MUST_FAIL("setregid", syscall(SYS_setregid, id, id));
        MUST_FAIL("setresuid", syscall(SYS_setresuid, -1, -1, id));
        MUST_FAIL("setresgid", syscall(SYS_setresgid, -1, id, -1));
        setfsuid(id);
        if (setfsuid((uid_t)-1) == (int)id)
            ESCAPED("setfsuid(%u) worked", id);
    }
    if (getuid() == 0 || geteuid() == 0)
        ESCAPED("runs as user 0 already");
    BLOCKED("set*id: %s", attack_tally());
}
