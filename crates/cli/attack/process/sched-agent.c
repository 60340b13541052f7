// name: sched-agent
// area: process
// about: Changes affinity, policy and attributes of PID 1's scheduling, which a same-user process may do on Linux.
// expect: blocked
// control: host

#include "attack.h"

#include <sched.h>

ATTACK(sched_agent)
{
    // Every write puts back what was read, so that a success shows but changes nothing.
    unsigned long mask[128];
    memset(mask, 0xff, sizeof mask);
    syscall(SYS_sched_getaffinity, 1, sizeof mask, mask);
    MUST_REFUSE("sched_setaffinity(1)", syscall(SYS_sched_setaffinity, 1, sizeof mask, mask));
    struct sched_param param = {0};
    long policy = syscall(SYS_sched_getscheduler, 1);
    syscall(SYS_sched_getparam, 1, &param);
    MUST_REFUSE("sched_setparam(1)", syscall(SYS_sched_setparam, 1, &param));
    MUST_REFUSE("sched_setscheduler(1)",
                syscall(SYS_sched_setscheduler, 1, policy < 0 ? 0 : policy, &param));
    uint32_t attributes[16] = {sizeof attributes};
    if (syscall(SYS_sched_getattr, 1, attributes, sizeof attributes, 0) != 0)
        attributes[0] = 48; // SCHED_ATTR_SIZE_VER0, policy SCHED_OTHER
    MUST_REFUSE("sched_setattr(1)", syscall(SYS_sched_setattr, 1, attributes, 0));
    memset(&param, 0, sizeof param);
    MUST_REFUSE("sched_setscheduler(1, SCHED_IDLE)",
                syscall(SYS_sched_setscheduler, 1, SCHED_IDLE, &param));
    BLOCKED("scheduling of PID 1: %s", attack_tally());
}
