// name: ioprio-agent
// area: process
// about: Moves PID 1 to the idle class of disk scheduling, by process and by user.
// expect: blocked
// control: host

#include "attack.h"

#define WHO_PROCESS 1
#define WHO_USER 3
#define CLASS_IDLE (3 << 13)

ATTACK(ioprio_agent)
{
    long before = syscall(SYS_ioprio_get, WHO_PROCESS, 1);
    MUST_REFUSE("ioprio_set(1) to its own value",
                syscall(SYS_ioprio_set, WHO_PROCESS, 1, before < 0 ? 0 : before));
    MUST_REFUSE("ioprio_set(1, idle)", syscall(SYS_ioprio_set, WHO_PROCESS, 1, CLASS_IDLE));
    syscall(SYS_ioprio_set, WHO_USER, attack_uid_of(1), CLASS_IDLE);
    long after = syscall(SYS_ioprio_get, WHO_PROCESS, 1);
    if (after != before)
        ESCAPED("disk priority of PID 1 went from %ld to %ld", before, after);
    BLOCKED("disk priority of PID 1: %s", attack_tally());
}
